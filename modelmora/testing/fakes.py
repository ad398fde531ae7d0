"""Stand-ins for the parts around the service: records, the publisher, the workers, the clocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from modelmora.errors import RequestError
from modelmora.kafka.batches import Partition, Record
from modelmora.kafka.writing.outbox import in_turn
from modelmora.kafka.writing.publisher import Dropped, TooLarge, Written
from modelmora.kafka.writing.publisher import Record as Outgoing
from modelmora.messages import EventKind, Lane, Parameter, RequestHead, Timings
from modelmora.messages.headers import principal_of
from modelmora.scheduling import Group, ModelKey, ModelSpec, Placement, Position
from modelmora.serving import Incoming
from modelmora.workers import Chunk, ItemResult, WorkerEvents

UNIX_MS = 1_800_000_000_000


class FakeTime:
    """A monotonic clock that moves when it is told to (seconds)."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """The time that was set."""
        return self.now


@dataclass(slots=True, eq=False)
class FakeRecord(Record):
    """A fetched record."""

    topic: str = "modelmora.requests.normal"
    partition: int = 0
    offset: int = 0
    epoch: int = 0
    timestamp: int = UNIX_MS
    key: bytes | None = b"echo"
    value: bytes | None = b""
    headers: Sequence[tuple[str, bytes | None]] = ()


def incoming(
    request_id: str = "r1",
    model: str = "echo",
    *,
    record: FakeRecord | None = None,
    lane: Lane = Lane.NORMAL,
    tell: bool = False,
    task: str | None = None,
    parameters: Mapping[str, Parameter] | None = None,
    timeout_ms: int | None = None,
    progress: bool = False,
    inputs: int = 1,
) -> Incoming:
    """A decoded request of a record that is made up unless given."""
    head = RequestHead(request_id, model, task, parameters or {}, timeout_ms, progress, inputs)
    record = record or FakeRecord()
    return Incoming(record, head, lane, principal_of(record.headers), tell=tell)


@dataclass(slots=True)
class FakeReader:
    """Notes what is to be read, gated and committed."""

    places: list[Mapping[Partition, tuple[int, int]]] = field(default_factory=list)
    gated: set[Partition] = field(default_factory=set)
    commits: list[Mapping[Partition, tuple[int, str]]] = field(default_factory=list)
    committing: bool = False
    renewed: list[tuple[Partition, int]] = field(default_factory=list)

    def read(self, places: Mapping[Partition, tuple[int, int]]) -> None:
        """Read from there on."""
        self.places.append(places)

    def renew(self, partition: Partition, epoch: int) -> None:
        """Assign anew."""
        self.renewed.append((partition, epoch))

    def gate(self, gated: Iterable[Partition]) -> None:
        """Read these no further."""
        self.gated = set(gated)

    def commit(self, commits: Mapping[Partition, tuple[int, str]]) -> None:
        """Commit."""
        self.commits.append(commits)
        self.committing = True


class FakeSender:
    """A publisher whose broker answers when it is told to."""

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []
        self.waiting: list[Outgoing] = []

    def send(self, record: Outgoing) -> None:
        """Take a record, and what goes before it."""
        record = in_turn(record, self.send)
        self.sent.append(record)
        self.waiting.append(record)

    def acknowledge(self, timestamp: int = UNIX_MS) -> Outgoing:
        """The broker takes the oldest record that waits."""
        record = self.waiting.pop(0)
        record.done(Written(record.partition or 0, len(self.sent), timestamp))
        return record

    def acknowledge_all(self) -> None:
        """The broker takes everything, also what is sent in answer."""
        while self.waiting:
            self.acknowledge()

    def refuse(self) -> Outgoing:
        """The oldest record that waits is too large."""
        record = self.waiting.pop(0)
        record.done(TooLarge())
        return record

    def drop(self) -> Outgoing:
        """The oldest record that waits is not wanted any more."""
        record = self.waiting.pop(0)
        record.done(Dropped())
        return record


@dataclass(slots=True)
class FakeWorkers:
    """Children that do what the test says through the events they were given."""

    events: WorkerEvents | None = None
    loads: dict[int, ModelSpec] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)
    cancels: list[tuple[int, int]] = field(default_factory=list)
    kills: list[tuple[int, str]] = field(default_factory=list)
    preloaded: set[str] = field(default_factory=set)

    def preload(self, modules: Iterable[str]) -> None:
        """Note the modules."""
        self.preloaded |= set(modules)

    def load(self, replica: int, spec: ModelSpec, place: Placement) -> None:
        """Note the order."""
        del place
        self.loads[replica] = spec

    def run(self, group: Group) -> None:
        """Note the group."""
        self.groups.append(group)

    def threads(self, replica: int, count: int) -> None:
        """Of no interest."""

    def cancel(self, group_id: int, index: int) -> None:
        """Note the cancel."""
        self.cancels.append((group_id, index))

    def kill(self, replica: int, reason: str) -> None:
        """Note the kill."""
        self.kills.append((replica, reason))

    def loaded(self, private_bytes: int = 1 << 20, **more: object) -> None:
        """Every child that was ordered has its model, and tells this and more of it."""
        for replica in self.loads:
            self._told().on_loaded(replica, {"private_bytes": private_bytes, **more}, 5.0)

    def answer(
        self,
        number: int = 0,
        outputs: bytes = b"\x00",
        run_ms: float = 1.0,
        **settings: Parameter,
    ) -> None:
        """The group ran for so long: each item has these outputs."""
        group = self.groups[number]
        results = [
            ItemResult(index, outputs, None, 1.0, settings) for index in range(len(group.works))
        ]
        self._told().on_started(group.replica, group.id)
        self._told().on_results(group.replica, group.id, results)
        self._told().on_group_done(group.replica, group.id, run_ms)

    def _told(self) -> WorkerEvents:
        if self.events is None:
            raise RuntimeError("give the service's listener as `events` first")
        return self.events


class FakeOutcomes:
    """Notes what the service tells, in order: (what, request id, code or "")."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []
        self.errors: dict[str, RequestError] = {}
        self.timings: dict[str, Timings] = {}
        self.settings: dict[str, Mapping[str, Parameter]] = {}
        self.exit_codes: dict[str, int | None] = {}
        self.positions: dict[str, Position] = {}
        self.events: list[tuple[EventKind, ModelKey, Mapping[str, Parameter]]] = []
        self.chunks: list[tuple[str, int, Chunk]] = []
        self.on_told: Callable[[], None] = lambda: None

    def completed(
        self,
        request: Incoming,
        model: ModelKey,
        outputs: bytes,
        settings: Mapping[str, Parameter],
        timings: Timings,
        attempt: int,
    ) -> None:
        """Note it."""
        self.settings[request.head.request_id] = settings
        self.timings[request.head.request_id] = timings
        self._tell("completed", request)

    def failed(
        self,
        request: Incoming,
        model: ModelKey,
        error: RequestError,
        timings: Timings,
        attempt: int,
        exit_code: int | None = None,
    ) -> None:
        """Note it."""
        self.errors[request.head.request_id] = error
        self.timings[request.head.request_id] = timings
        self.exit_codes[request.head.request_id] = exit_code
        self._tell("failed", request, error.code.value)

    def accepted(self, request: Incoming, model: ModelKey, position: Position) -> None:
        """Note it."""
        self.positions[request.head.request_id] = position
        self._tell("accepted", request)

    def started(self, request: Incoming, model: ModelKey) -> None:
        """Note it."""
        self._tell("started", request)

    def progressed(self, request: Incoming, model: ModelKey, chunk: Chunk, attempt: int) -> None:
        """Note it."""
        self.chunks.append((request.head.request_id, attempt, chunk))

    def event(self, kind: EventKind, model: ModelKey, facts: Mapping[str, Parameter]) -> None:
        """Note it."""
        self.events.append((kind, model, facts))

    def _tell(self, what: str, request: Incoming, code: str = "") -> None:
        self.told.append((what, request.head.request_id, code))
        self.on_told()
