"""Whether a model's licence is to be accepted by somebody before it is installed."""

from __future__ import annotations

import getpass
import re
import shlex
from collections.abc import Callable
from datetime import UTC, datetime

from modelmora.errors import ConfigurationError
from modelmora.settings import Licence

Ask = Callable[[str, Licence | None], str | None]
"""Asks a person about a source's licence; the name of what was accepted, None where nothing was."""

_PERMISSIVE = re.compile(
    r"0bsd|afl-3\.0|apache(-software|-2(\.0)?)?|bsd(-[23]-clause(-clear)?)?|bsl-1\.0|cc-by-[34]\.0"
    r"|cc0-1\.0|isc|mit(-0)?|ncsa|postgresql|unlicense|wtfpl|zlib"
)
UNTOLD = "NOASSERTION"
"""What SPDX has for the licence of a part that tells none."""


def is_permissive(name: str) -> bool:
    """Whether a licence, or each one of an SPDX expression, is known to allow any use."""
    return all(_PERMISSIVE.fullmatch(_plain(one)) for one in _parts(name))


def _parts(name: str) -> list[str]:
    return re.split(r"\s+(?:AND|OR)\s+", name)


def _plain(name: str) -> str:
    words = re.sub(r"\b(the|licen[sc]e|version)\b", " ", name.strip("() ").lower())
    return "-".join(words.replace(",", " ").split())


def settled(
    source: str,
    told: Licence | None,
    accepted: str | None,
    before: Licence | None,
    ask: Ask | None,
    *,
    required: bool,
) -> Licence | None:
    """The licence under which a model is installed.

    `told` is what its source tells, `accepted` the name that the caller accepts, `before` what is
    noted of it here, `ask` None where there is nobody to be asked. Raises ConfigurationError.

    (1) A name that is accepted is noted, with who and when; it must be the one that is told.
    (2) What was accepted before, of the same name, stays so.
    (3) Unless it is `required`, nobody need accept a permissive one, or one that is not told.
    (4) Whoever is there is asked, and where nobody is, it is refused or left unconfirmed.
    """
    # (1)
    if accepted is not None:
        return _confirmed(source, told, accepted)
    # (2)
    if before and before.confirmed_by and (told is None or told.name == before.name):
        return before
    # (3)
    names = [each for each in _parts(told.name) if each != UNTOLD] if told else []
    if not required and all(map(is_permissive, names)):
        return told
    # (4)
    if ask is None:
        if required:
            name = shlex.quote(told.name) if told else "NAME"
            what = f"nobody has accepted its licence {told.name}" if told else "it tells no licence"
            raise ConfigurationError(
                f"{source}: {what} (registry.require_licence); pass --accept-licence {name}"
            )
        return told
    answer = ask(source, told)
    if answer is None:
        raise ConfigurationError(f"the licence of {source} was not accepted; nothing is installed")
    return _confirmed(source, told, answer)


def _confirmed(source: str, told: Licence | None, accepted: str) -> Licence:
    if told and told.name.casefold() != accepted.casefold():
        raise ConfigurationError(
            f"{source} is under {told.name} ({told.read_from}), not {accepted}"
        )
    return Licence(
        name=told.name if told else accepted,
        read_from=told.read_from if told else None,
        confirmed_by=_user(),
        confirmed_at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
