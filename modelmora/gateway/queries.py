"""What is asked of lists, read from words as both doors are given them; raises Refusal."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from modelmora.audit import reading
from modelmora.deadletters.letters import Wanted, since_ms
from modelmora.errors import Code, ConfigurationError
from modelmora.gateway.cluster.administering import MOST_NAMED, Meant
from modelmora.gateway.outcomes import Refusal
from modelmora.kafka.reading.newest import Key
from modelmora.messages import Decision
from modelmora.text import did_you_mean, printable, shorten

MOST, FEW = 1000, 100
"""Entries of a page: at most, and where it is not said how many."""
SHOWN = 100
LETTERS = ("code", "model", "since", "before", "limit", "cursor")
RECORDS = ("principal", "verb", "model", "decision", "since", "before", "limit", "cursor")
DECISIONS = {decision.value.lower(): decision for decision in Decision}
_CURSOR = re.compile(r"(-?\d{1,19})\.(\d{1,9})\.(\d{1,18})", re.ASCII)


def once(given: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The parameters of a query, none of which is there twice."""
    told: dict[str, str] = {}
    for key, value in given:
        if key in told:
            shown = shorten(printable(key), SHOWN)
            raise Refusal(Code.INVALID_INPUT, f"{shown}: is there twice")
        told[key] = value
    return told


def only(told: Collection[str], known: Collection[str], more: str = "") -> None:
    """Refuse what is not known; `more` is told of what is, too."""
    if unknown := sorted(set(told) - set(known)):
        near = did_you_mean(unknown[0], known) or f"; there are {', '.join(known)}{more}"
        shown = shorten(printable(unknown[0]), SHOWN)
        raise Refusal(Code.INVALID_INPUT, f"{shown}: is no parameter here{near}")


def limit_of(text: str) -> int:
    """How many at most a page has."""
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and 1 <= int(text) <= MOST):
        raise Refusal(Code.INVALID_INPUT, f"limit: is a whole number from 1 to {MOST}")
    return int(text)


def cursor_of(key: Key | None) -> str | None:
    """Where the next page begins, as text."""
    return None if key is None else ".".join(map(str, key))


@dataclass(frozen=True, slots=True)
class Part:
    """Which part of a list: what was written `since` (Unix ms), and from `before` on back."""

    limit: int
    since: int | None
    before: Key | None

    @classmethod
    def of(cls, told: Mapping[str, str]) -> Part:
        """What these parameters say."""
        limit = limit_of(told["limit"]) if "limit" in told else FEW
        before: Key | None = None
        if "before" in told:
            before = (time_of("before", told["before"]), -1, -1)
        if "cursor" in told:
            found = _CURSOR.fullmatch(told["cursor"])
            if found is None or int(found[1]) >= 1 << 63:
                message = "cursor: is none of here; begin without one"
                raise Refusal(Code.INVALID_INPUT, message)
            key = int(found[1]), int(found[2]), int(found[3])
            before = min(before, key) if before else key
        since = time_of("since", told["since"]) if "since" in told else None
        return cls(limit, since, before)


def time_of(field: str, text: str) -> int:
    """A span before now, or a time, as Unix ms."""
    try:
        return since_ms(text, time.time_ns() // 1_000_000, field)
    except ConfigurationError as error:
        raise Refusal(Code.INVALID_INPUT, str(error), field=field) from None


def letters_asked(told: Mapping[str, str]) -> tuple[Wanted, Part]:
    """Which dead letters, and which part of them."""
    only(told, LETTERS)
    part = Part.of(told)
    return Wanted(told.get("code"), told.get("model"), part.since), part


def records_asked(told: Mapping[str, str]) -> tuple[reading.Wanted, Part]:
    """Which records of the audit, and which part of them."""
    only(told, RECORDS)
    decision = None
    if "decision" in told and (decision := DECISIONS.get(told["decision"].lower())) is None:
        raise Refusal(Code.INVALID_INPUT, f"decision: is one of {', '.join(DECISIONS)}")
    named = told.get("principal"), told.get("verb"), told.get("model")
    return reading.Wanted(*named, decision), Part.of(told)


def meant(which: Iterable[str], told: Mapping[str, str | None], *, every: bool) -> Meant:
    """Letters by name, or by what they are: code, model, since, before."""
    names = tuple(which)
    if "" in names:
        raise Refusal(Code.INVALID_INPUT, "which: an empty name names no letter", field="which")
    if len(names) > MOST_NAMED:
        message = f"which: {len(names)} are named, and {MOST_NAMED} may be; ask several times"
        raise Refusal(Code.INVALID_INPUT, message, field="which")
    since, before = (told.get(name) for name in ("since", "before"))
    wanted = Wanted(
        told.get("code"),
        told.get("model"),
        time_of("since", since) if since is not None else None,
        time_of("before", before) if before is not None else None,
    )
    if bool(names) == (every or wanted != Wanted()):
        message = "name ids or places in `which`, or else `all`, or a code, a model, a time"
        raise Refusal(Code.INVALID_INPUT, message)
    return Meant(names, wanted)
