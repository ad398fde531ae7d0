"""The registry as a log makes it: which record counts under each key, told by the log alone."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, replace

from modelmora.access.rights import Told
from modelmora.messages import RegistryKind, RegistryRecord
from modelmora.records.budgets import budgets_of
from modelmora.records.changes import in_time
from modelmora.records.roles import told_of
from modelmora.records.routes import steps_in, with_route
from modelmora.records.spread import Steps, joined, spread_at, spread_for, steps_of, with_spread
from modelmora.records.telling import canary_key, key_of, model_key, route_key
from modelmora.routing import Steps as RouteSteps
from modelmora.routing import all_narrowed, main_version
from modelmora.settings.budgets import Budget
from modelmora.wire import place_of

_BUDGET = f"{RegistryKind.BUDGET}:".encode()
GONE = -1
"""The offset of what an earlier log of the same name told: no record is based on it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The record that counts under a key, and where it lies.

    `buried`: a record that does not count lies above it, so that compaction would take the one
    that does; it is to be written anew.
    """

    offset: int
    record: RegistryRecord
    buried: bool = False


def judge(
    current: Entry | None, record: RegistryRecord, offset: int, at_ms: int | None = None
) -> Entry:
    """What counts after one more record under a key; `at_ms` is when it was appended, if known.

    (1) The first one counts, any above what an earlier log told, and the last measurement.
    (2) One that says the same counts, and one that is based on the current one,
    (3) unless what it changes for ids to come would not be read by all in time.
    (4) Any other lost against the current one, which it buries.
    """
    # (1)
    if current is None or current.offset == GONE or record.kind is RegistryKind.MEASURED:
        return Entry(offset, record)
    # (2), (3)
    if says_the_same(current.record, record):
        return Entry(offset, record)
    if record.based_on == current.offset and (
        at_ms is None or _in_time(current.record, record, at_ms)
    ):
        return Entry(offset, record)
    # (4)
    return Entry(current.offset, current.record, buried=True)


def _in_time(before: RegistryRecord, after: RegistryRecord, at_ms: int) -> bool:
    pairs = ((before.spreads, after.spreads), (before.routes, after.routes))
    return all(in_time(was, now, at_ms) for was, now in pairs)


def says_the_same(one: RegistryRecord, other: RegistryRecord) -> bool:
    """Whether two records tell the same, whoever wrote them over what."""
    return replace(one, writer="", based_on=None) == replace(other, writer="", based_on=None)


class Registry:
    """The records that count; equal at all who have read the same log."""

    def __init__(self) -> None:
        self._entries: dict[bytes, Entry] = {}
        self._spreads: Mapping[str, Steps] | None = None
        self._told_routes: dict[bytes, tuple[RegistryRecord, RouteSteps]] = {}
        self._routes: dict[str, RouteSteps] | None = None
        self._told: Told | None = None
        self._budgets: Mapping[str, Budget] | None = None

    @property
    def entries(self) -> Mapping[bytes, Entry]:
        """What counts under each key."""
        return self._entries

    def take(
        self, key: bytes, record: RegistryRecord | None, offset: int, at_ms: int | None = None
    ) -> bool:
        """Take the next record of the log, appended then; whether what counts is another now.

        None, a record without a value, takes the key away. What stands under another key than its
        own, and what is a lease, is passed over.
        """
        self._spreads = self._routes = self._told = None
        if key.startswith(_BUDGET):
            self._budgets = None
        if record is None:
            return self._entries.pop(key, None) is not None
        if record.kind is RegistryKind.NODE or key != key_of(record):
            return False
        before = self._entries.get(key)
        if before and offset <= before.offset:
            return False  # it was handed over before
        after = self._entries[key] = judge(before, record, offset, at_ms)
        return before != after

    def restore(self, entries: Mapping[bytes, Entry]) -> None:
        """Go on from these."""
        self._entries = dict(entries)
        self._spreads = self._routes = self._told = self._budgets = None

    def anew(self) -> None:
        """The log is another and holds nothing yet: what the former one told waits to be told."""
        self._entries = {key: Entry(GONE, each.record) for key, each in self._entries.items()}

    @property
    def buried(self) -> bool:
        """Whether anything is to be written anew before compaction takes it."""
        return any(each.buried for each in self._entries.values())

    def model(self, name: str, version: str) -> Entry | None:
        """What counts of a model, retired or not."""
        return self._entries.get(model_key(name, version))

    def models(self, *, retired: bool = False) -> tuple[RegistryRecord, ...]:
        """The models, by name and version; with `retired` those too."""
        found = [
            each.record
            for each in self._entries.values()
            if each.record.kind is RegistryKind.MODEL and (retired or each.record.present)
        ]
        return tuple(sorted(found, key=lambda record: (record.name, record.version)))

    def place(self, model: str, request_id: str, partitions: int) -> int | None:
        """On which of so many partitions of a lane a request for `name` or `name@version` lies.

        None where the name alone decides, as it does of models that are not spread.
        """
        name = model.partition("@")[0]
        steps = self._steps().get(name)
        spread = spread_for(steps, request_id) if steps and partitions else 1
        return None if spread == 1 else place_of(name, request_id, spread, partitions)

    def spread(self, name: str, at_ms: int) -> int:
        """Over how many partitions requests of a name lie whose ids are made then (Unix ms)."""
        return spread_at(self._steps().get(name, ()), at_ms)

    def settled(self, record: RegistryRecord, now_ms: int) -> RegistryRecord:
        """A record as it is to be written over what counts now.

        See `with_spread` and `with_route`.
        """
        entry = self._entries.get(key_of(record))
        names = {each.record.name for each in self._of_models()}
        before = entry.record if entry else None
        record = with_route(record, before, now_ms)
        return with_spread(record, before, now_ms, first=record.name not in names)

    def told(self) -> Told:
        """The roles and grants; the same object until another record is taken."""
        if self._told is None:
            self._told = told_of(each.record for each in self._entries.values())
        return self._told

    def told_with(self, record: RegistryRecord) -> Told:
        """The roles and grants as they will be once this record counts."""
        changed = {**self._entries, key_of(record): Entry(GONE, record)}
        return told_of(each.record for each in changed.values())

    def budgets(self) -> Mapping[str, Budget]:
        """The budgets; the same object until another record of one is taken."""
        if self._budgets is None:
            self._budgets = budgets_of(each.record for each in self._entries.values())
        return self._budgets

    def _steps(self) -> Mapping[str, Steps]:
        if self._spreads is None:
            found: dict[str, list[Steps]] = {}
            for each in self._of_models():
                if steps := steps_of(each.record.spreads):
                    found.setdefault(each.record.name, []).append(steps)
            self._spreads = {name: joined(several) for name, several in found.items()}
        return self._spreads

    def _of_models(self) -> Iterator[Entry]:
        return (e for e in self._entries.values() if e.record.kind is RegistryKind.MODEL)

    def measured(self, key: tuple[str, str] | None = None) -> tuple[Entry, ...]:
        """What nodes have measured, of one model (name, version) or of all."""
        return tuple(
            each
            for each in self._entries.values()
            if each.record.kind is RegistryKind.MEASURED and key in (None, each.record.key)
        )

    def active(self, own: Container[tuple[str, str]] = ()) -> dict[str, str]:
        """Of each name the version that was chosen to answer for it, and is there.

        Of several the one that answers most. `own` are models (name, version) that are there though
        nobody has told them yet.
        """
        steps = self._routes_with(own) if own else self.routes()
        return {name: main_version(each[-1][1]) for name, each in steps.items()}

    def routes(self) -> Mapping[str, RouteSteps]:
        """Of each name how it is answered at which time, by versions that are there.

        Names of which no version that was chosen is there are left out.
        """
        if self._routes is None:
            self._routes = self._routes_with(())
        return self._routes

    def _routes_with(self, own: Container[tuple[str, str]]) -> dict[str, RouteSteps]:
        found: dict[str, RouteSteps] = {}
        for record in self.of_kind(RegistryKind.ROUTE):
            name = record.name

            def is_there(version: str, name: str = name) -> bool:
                return self._is_there(name, version) or (name, version) in own

            if steps := all_narrowed(self._steps_of(record), is_there):
                found[name] = steps
        return found

    def route(self, name: str) -> Entry | None:
        """What counts of the route of a name."""
        return self._entries.get(route_key(name))

    def canary(self, name: str) -> Entry | None:
        """What counts of the canary of a name."""
        return self._entries.get(canary_key(name))

    def told_route(self, name: str) -> RouteSteps:
        """How a name was told to be answered, whether those versions are there or not."""
        entry = self.route(name)
        return self._steps_of(entry.record) if entry and entry.record.present else ()

    def route_headers(self, name: str) -> frozenset[str]:
        """The headers of a request at which the route of a name looks, or looked."""
        return frozenset().union(*(route.headers for _, route in self.told_route(name)))

    def _steps_of(self, record: RegistryRecord) -> RouteSteps:
        """As `steps_in`: read once, for it is asked for with each record that comes."""
        key = route_key(record.name)
        known = self._told_routes.get(key)
        if known is None or known[0] is not record:
            known = self._told_routes[key] = record, steps_in(record)
        return known[1]

    def defaults(self) -> dict[str, str]:
        """Of each task the name of the model that was chosen to answer for it, and is there."""
        names = {model.name for model in self.models()}
        chosen = self.of_kind(RegistryKind.DEFAULT)
        return {each.task: each.name for each in chosen if each.name in names}

    def of_kind(self, kind: RegistryKind) -> Iterator[RegistryRecord]:
        """The records of a kind that say of something that it is there."""
        for each in self._entries.values():
            if each.record.kind is kind and each.record.present:
                yield each.record

    def _is_there(self, name: str, version: str) -> bool:
        model = self.model(name, version)
        return model is not None and model.record.present
