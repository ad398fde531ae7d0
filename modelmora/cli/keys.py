"""`modelmora keys`: who may call the gateway: keys made, listed, rotated, revoked."""

from __future__ import annotations

import re
import time
from typing import Annotated, Any

import typer

from modelmora.access.files import KeyFile
from modelmora.access.keys import Key, Keys, ending, made, named, revoked
from modelmora.access.secrets import signing_key_of
from modelmora.cli.shared.audit import noted
from modelmora.cli.shared.options import JsonOption, finds_instance
from modelmora.cli.shared.output import minute, print_json, print_table, say, tell
from modelmora.errors import Invalid
from modelmora.host.instance import Instance
from modelmora.settings import YEAR_S
from modelmora.text import counted, iso

app = typer.Typer(
    help="Keys by which callers of the gateway say who they are.", no_args_is_help=True
)
LONGEST_MS = 100 * YEAR_S * 1000
_SPAN = re.compile(r"(\d{1,9})([smhdw])")
_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="As `modelmora keys list` has it.")]
ExpiresOption = Annotated[
    str | None,
    typer.Option("--expires", metavar="TIME", help="In what time, such as 90d or 12h (never)."),
]


@app.command("create")
@finds_instance
def create(
    where: Instance,
    principal: Annotated[
        str, typer.Argument(metavar="PRINCIPAL", help="Whose key it is: a person or a program.")
    ],
    expires: ExpiresOption = None,
    json: JsonOption = False,
) -> None:
    """Make a key and print it, this once: only a digest of it is kept."""
    file, at = KeyFile.of(where.settings), _at(expires)
    new = _make(file, principal, at)
    noted(where.settings, "keys create", f"key {new[1].id} of {new[1].principal}")
    _show(new, json=json)
    say(f"kept in {file.path}; it is shown this once")


@app.command("list")
@finds_instance
def list_keys(where: Instance, json: JsonOption = False) -> None:
    """List the keys, without their secrets."""
    keys = KeyFile.of(where.settings).read()
    if json:
        print_json([_told(key) for key in keys])
        return
    if keys:
        now = _now()
        print_table(
            ("ID", "PRINCIPAL", "CREATED", "EXPIRES", "STATE"),
            [
                (
                    key.id,
                    key.principal,
                    minute(key.created_at),
                    None if key.expires_at is None else minute(key.expires_at),
                    "expired" if key.expired(now) else "valid",
                )
                for key in keys
            ],
            drop=("CREATED",),
        )
    say(counted(len(keys), "key"))


@app.command("revoke")
@finds_instance
def revoke(where: Instance, key_id: IdArgument, json: JsonOption = False) -> None:
    """Take a key away: from now on it lets nobody in."""
    gone: list[Key] = []

    def decide(keys: Keys, _pepper: bytes) -> Keys:
        gone.append(named(keys, key_id))
        return revoked(keys, key_id)

    KeyFile.of(where.settings).change(decide)
    noted(where.settings, "keys revoke", f"key {key_id} of {gone[0].principal}")
    if json:
        print_json(_told(gone[0]))
    say(f"key {key_id} of {gone[0].principal} is revoked")


@app.command("rotate")
@finds_instance
def rotate(
    where: Instance,
    key_id: IdArgument,
    expires: ExpiresOption = None,
    overlap: Annotated[
        str, typer.Option(metavar="TIME", help="How long the old key still holds; 0s: not at all.")
    ] = "24h",
    json: JsonOption = False,
) -> None:
    """Make another key for the same principal, and let the old one end a while later."""
    file, at, until = KeyFile.of(where.settings), _at(expires), _at(overlap)
    new = _make(file, "", at, key_id, until)
    took = f"key {new[1].id} of {new[1].principal} in place of {key_id}"
    noted(where.settings, "keys rotate", took)
    _show(new, json=json)
    say(f"{key_id} holds until {minute(until or 0)}; the new one is shown this once")


@app.command("signing")
@finds_instance
def signing(
    where: Instance,
    principal: Annotated[
        str, typer.Argument(metavar="PRINCIPAL", help="As whom a program writes to topics.")
    ],
    json: JsonOption = False,
) -> None:
    """Print the key with which a program that writes to topics signs, as this principal alone.

    It is made of the cluster's secret, always alike, and kept nowhere.
    """
    text = signing_key_of(where.settings, principal)
    if json:
        print_json({"principal": principal, "signing_key": text})
    else:
        tell(text)
    say("the program signs with it as access.signing_key; it holds while the secret does")


def _make(
    file: KeyFile, principal: str, at: int | None, old: str = "", until: int | None = None
) -> tuple[str, Key]:
    """A new key, for the principal or in the place of an old one."""
    new: list[tuple[str, Key]] = []

    def decide(keys: Keys, pepper: bytes) -> Keys:
        whose = named(keys, old).principal if old else principal
        new.append(made(keys, whose, pepper, _now(), at))
        kept = ending(keys, old, until or 0) if old else keys
        return (*kept, new[0][1])

    file.change(decide)
    return new[0]


def _show(new: tuple[str, Key], *, json: bool) -> None:
    text, key = new
    if json:
        print_json({"key": text, **_told(key)})
    else:
        tell(text)


def _told(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "principal": key.principal,
        "created_at": iso(key.created_at),
        "expires_at": None if key.expires_at is None else iso(key.expires_at),
        "expired": key.expired(_now()),
    }


def _at(span: str | None) -> int | None:
    """So long from now, in Unix ms. Raises Invalid."""
    if span is None:
        return None
    match = _SPAN.fullmatch(span.strip())
    if match is None or (long := int(match[1]) * _MS[match[2]]) > LONGEST_MS:
        raise Invalid(f"{span} is no time; give a number and s, m, h, d or w, such as 90d")
    return _now() + long


def _now() -> int:
    return time.time_ns() // 1_000_000
