"""The registry as both doors show it: pages, entries, and refusals of its verbs."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from modelmora.errors import Code, Conflict, Invalid, NotFound, Stale, Unreachable
from modelmora.gateway.hall import Hall, state_of
from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.queries import MOST, SHOWN, limit_of, once, only
from modelmora.messages import RegistryRecord, State
from modelmora.records import Entry, details_of
from modelmora.records.facts import facts_of, matches
from modelmora.records.measured import shown
from modelmora.routing import alone, routes
from modelmora.text import did_you_mean, printable, shorten
from modelmora.web.problems import DoorCode

T = TypeVar("T")
RETIRED = "retired"
STATES = (*(state.value for state in State), RETIRED)
FACT = "fact."
"""What the name of a fact begins with, to be asked for."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which models a caller wants to see; None wants all, but retired ones only if asked for."""

    name: str | None = None
    version: str | None = None
    task: str | None = None
    state: str | None = None
    licence: str | None = None
    facts: tuple[tuple[str, str], ...] = ()
    limit: int = MOST
    after: tuple[str, str] = ("", "")

    @classmethod
    def of(cls, given: Iterable[tuple[str, str]]) -> Filter:
        """The filter in a query. Raises Refusal."""
        told: dict[str, Any] = {**once(given)}
        facts = tuple((key[len(FACT) :], told.pop(key)) for key in [*told] if key.startswith(FACT))
        known = ("name", "version", "task", "state", "licence", "limit", "cursor")
        only(told, known, f", {FACT}NAME")
        if told.get("state", STATES[0]) not in STATES:
            raise Refusal(Code.INVALID_INPUT, f"state: is one of {', '.join(STATES)}")
        if "limit" in told:
            told["limit"] = limit_of(told["limit"])
        after = _place(told.pop("cursor", ""))
        return cls(**told, facts=facts, after=after)

    def takes(self, hall: Hall, record: RegistryRecord) -> bool:
        """Whether the caller wants to see the model."""
        state = shown_state(hall, record)["state"]
        return (
            self.name in (None, record.name)
            and self.version in (None, record.version)
            and self.task in (None, record.task)
            and self.state in (None if record.present else RETIRED, state)
            and (record.name, record.version) > self.after
            and self._knows(record)
        )

    def _knows(self, record: RegistryRecord) -> bool:
        """Whether licence and facts are as wanted."""
        if self.licence is not None:
            licence = details_of(record).licence
            if licence is None or licence.name.casefold() != self.licence.casefold():
                return False
        return not self.facts or matches(facts_of(record), dict(self.facts))


def _place(cursor: str) -> tuple[str, str]:
    try:
        name, _, version = (
            base64.b64decode(cursor.encode(), b"-_", validate=True).decode().partition("@")
        )
    except (binascii.Error, UnicodeError, ValueError):
        raise Refusal(Code.INVALID_INPUT, "cursor: is none of here; begin without one") from None
    return name, version


def page_of(hall: Hall, wanted: Filter) -> dict[str, Any]:
    """The models that a caller wants, by name and version, and where the next page begins."""
    found = (
        record
        for record in hall.registrar.state.models(retired=wanted.state == RETIRED)
        if wanted.takes(hall, record)
    )
    page = [*islice(found, wanted.limit + 1)]
    more = len(page) > wanted.limit
    last = page[wanted.limit - 1] if more else None
    cursor = last and base64.urlsafe_b64encode(f"{last.name}@{last.version}".encode()).decode()
    active = hall.registrar.state.active()
    shown = [summary_of(hall, each, active) for each in page[: wanted.limit]]
    return {"models": shown, "next": cursor}


def shown_state(hall: Hall, record: RegistryRecord) -> dict[str, str | None]:
    """Where a model stands as far as nodes tell, with the reason; `retired` where it is."""
    return state_of(hall, record) if record.present else {"state": RETIRED, "reason": None}


def summary_of(hall: Hall, record: RegistryRecord, active: dict[str, str]) -> dict[str, Any]:
    """A model as lists show it."""
    return {
        "name": record.name,
        "version": record.version,
        "task": record.task,
        "source": record.source,
        "max_inputs": record.max_inputs,
        "active": active.get(record.name) == record.version,
        "declared": record.declaration is not None,
        **shown_state(hall, record),
    }


def entry_of(hall: Hall, entry: Entry) -> dict[str, Any]:
    """A model with all that is told of it."""
    record = entry.record
    details = details_of(record).model_dump(mode="json")
    state = hall.registrar.state
    return {
        **summary_of(hall, record, state.active()),
        **details,
        "etag": etag_of(entry),
        "engine": record.engine,
        "facts": facts_of(record),
        "measured": shown(state, record.key),
    }


def etag_of(entry: Entry) -> str:
    """What tells one state of a model from another."""
    return f'"{entry.offset}"'


def base_of(etag: str) -> int | None:
    """The offset that an etag names, None for `*`, which is any. Raises Refusal."""
    given = etag.strip()
    if given == "*":
        return None
    text = given.strip('"')
    if not (given == f'"{text}"' and text.isascii() and text.isdecimal() and len(text) < 20):
        raise Refusal(DoorCode.STALE, f"{shorten(given, SHOWN)} is no etag of here; read it again")
    return int(text)


def named(hall: Hall, name: str) -> dict[str, Any]:
    """All versions of a name, retired ones too, and which answers for it. Raises Refusal."""
    state = hall.registrar.state
    versions = [each for each in state.models(retired=True) if each.name == name]
    if not versions:
        near = did_you_mean(name, {each.name for each in state.models()})
        shown = shorten(printable(name), SHOWN)
        raise Refusal(DoorCode.NOT_FOUND, f"{shown} is not registered; see /models{near}")
    active = state.active()
    defaults = sorted(task for task, each in state.defaults().items() if each == name)
    return {
        "name": name,
        "active": active.get(name),
        "default_for": defaults,
        "versions": [summary_of(hall, each, active) for each in versions],
    }


def route_of(hall: Hall, name: str) -> dict[str, Any]:
    """How a name is answered, since when, and how before. Raises Refusal.

    Where nobody has chosen, its lowest version answers all.
    """
    state = hall.registrar.state
    steps = state.told_route(name)
    if not steps:
        key = routes(state.models()).names.get(name)
        if key is None:
            named(hall, name)  # none, or retired ones only
            raise Refusal(DoorCode.NOT_FOUND, f"{name} has no version that is not retired")
        steps = ((0, alone(key[1])),)
    entry = state.route(name)
    told = [{"since_ms": at, **route.model_dump(mode="json")} for at, route in steps]
    return {"name": name, **told[-1], "before": told[:-1], "etag": etag_of(entry) if entry else ""}


def routes_of(hall: Hall) -> list[dict[str, Any]]:
    """How each name is answered, by name."""
    names = sorted({model.name for model in hall.registrar.state.models()})
    return [route_of(hall, name) for name in names]


async def registering(work: Awaitable[T]) -> T:
    """What the registrar answers; raises Refusal."""
    try:
        return await work
    except NotFound as error:
        raise Refusal(DoorCode.NOT_FOUND, str(error)) from None
    except Stale as error:
        raise Refusal(DoorCode.STALE, str(error)) from None
    except Conflict as error:
        raise Refusal(DoorCode.CONFLICT, str(error)) from None
    except Invalid as error:
        raise Refusal(Code.INVALID_INPUT, str(error)) from None
    except Unreachable as error:
        raise Refusal(DoorCode.BROKER_UNREACHABLE, str(error)) from None
