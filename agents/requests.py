"""From the request topics to the service: decode, dead-letter what is no request, never wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Protocol

import structlog

from modelmora.access.signing import Verifier
from modelmora.agents.arrivals import Arrivals, text_of
from modelmora.agents.fetching import Fetching
from modelmora.agents.partitions.ages import Ages
from modelmora.agents.partitions.care import Care
from modelmora.agents.partitions.intake import Intake
from modelmora.agents.partitions.suspects import MOST_TRIES
from modelmora.agents.probes import Probes
from modelmora.agents.shadows.gate import Gate
from modelmora.agents.toll import Toll
from modelmora.agents.twins import Twins
from modelmora.agents.unresolved import Unresolved
from modelmora.errors import Code, RequestError, Undecodable
from modelmora.kafka.batches import Batch, Partition
from modelmora.kafka.reading.unreadable import Unreadable
from modelmora.kafka.schema_registry import Schemas
from modelmora.kafka.topics import Topic, lane_topics, tier_topics
from modelmora.messages.headers import REQUEST_ID, SIGNATURE
from modelmora.objects import Objects
from modelmora.serving import BrokerClock, Incoming, Record, Service
from modelmora.serving.request import request_id_of
from modelmora.settings import Settings
from modelmora.wire import decode_request_head
from modelmora.wire.handed import first_place
from modelmora.wire.plainjson import encode_json, is_json

log = structlog.get_logger(__name__)
_BREATH = 250  # records between two looks at the rest of the event loop
_LOOK_AGAIN_MS = 250  # each look reads anew from the broker


class Reader(Protocol):
    """Who reads the partitions; see `modelmora.kafka.group.Member`."""

    def read(self, places: Mapping[Partition, tuple[int, int]]) -> None:
        """Read each partition from its (epoch, offset) on."""

    def gate(self, gated: Iterable[Partition]) -> None:
        """Read exactly these partitions no further for now."""


class Burials(Protocol):
    """Where records go that are no requests."""

    def undecodable(self, record: Record, error: RequestError, principal: str) -> None:
        """Dead-letter the record; its outcome, as this principal's, is FAILED if it has an id."""


@dataclass(slots=True, eq=False)
class LostRecord:
    """Stands for a record of which the client library can hand over only the place."""

    topic: str
    partition: int
    offset: int
    epoch: int
    timestamp: int = 0
    key: bytes | None = None
    value: bytes | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()


class Requests:
    """Takes each fetched batch apart; every record ends up with the service or as a dead letter."""

    reader: Reader

    def __init__(
        self,
        settings: Settings,
        intake: Intake,
        service: Service,
        burials: Burials,
        clock: BrokerClock,
        schemas: Schemas | None = None,
        objects: Objects | None = None,
        twins: Twins | None = None,
        care: Care | None = None,
        verifier: Verifier | None = None,
        gate: Gate | None = None,
        probes: Probes | None = None,
    ) -> None:
        self._shadow = Topic.SHADOW.full(settings.namespace)
        self._arrivals = Arrivals(lane_topics(settings), verifier or Verifier(), self._shadow)
        self._delays = tier_topics(settings)
        self._resting: dict[Partition, float] = {}
        """Of what was put off: when (Unix ms) to look again whether the next record is due."""
        self._max_bytes = settings.limits.request_bytes
        self._intake = intake
        self.ages = Ages(intake)
        self._service = service
        self._burials = burials
        self._clock = clock
        self._schemas = schemas
        self._unresolved = Unresolved(schemas, self._resolved) if schemas else None
        limit = settings.limits.node_bytes
        self._fetching = Fetching(objects, intake, service, limit) if objects else None
        self.on_first: Callable[[], None] = lambda: None
        """Told of each request that is tried for the first time."""
        self._twins = twins
        self.toll: Toll | None = None
        """Charges those that no gateway has charged."""
        self._gate = gate or Gate(settings.shadow, intake, clock)
        self._gate.use(self.begin, service)
        self._care = care or Care(intake)
        self._gate.careful = lambda: self._care.active
        self._gated: set[Partition] = set()
        self._probes = probes
        self._closed = False

    async def on_batch(self, batch: Batch) -> None:
        """One event of the agent: a batch of one partition. Never raises."""
        if not self._follows(batch):
            return
        for number, found in enumerate(batch.records, 1):
            if self._rests(found) or not self._may_begin(found):
                break
            self._guarded(_record_of(found))
            if number % _BREATH == 0:
                self._service.arm()
                self._shed()
                await asyncio.sleep(0)
                # Meanwhile it may have gone to another node, or have to be read again.
                if self._closed or not self._intake.follows(
                    batch.partition, batch.epoch, found.offset + 1
                ):
                    break
        self._service.arm()
        self._shed()
        self.regate()

    def _follows(self, batch: Batch) -> bool:
        partition, intake = batch.partition, self._intake
        if self._closed or intake.epoch(partition) != batch.epoch:
            return False  # it is somebody else's now
        if not intake.follows(partition, batch.epoch, batch.after):
            intake.stray(partition)
            self.regate()
            return False
        return True

    def _rests(self, found: Record | Unreadable) -> bool:
        """Whether it is put off until later, and with it all behind it on its partition.

        By the broker's own clock: no header says until when. Of copies while many wait here.
        """
        if isinstance(found, Unreadable):
            return False
        partition = (found.topic, found.partition)
        if found.topic == self._shadow:
            due_ms = inf if self._gate.is_full(found.key) else -inf
        elif (delay_ms := self._delays.get(found.topic)) is not None:
            due_ms = found.timestamp + delay_ms
        else:
            return False
        self._clock.heard(found.timestamp, partition)
        now_ms = self._clock.now_ms(partition)
        if now_ms >= due_ms:
            return False
        soon_ms = now_ms + _LOOK_AGAIN_MS
        self._resting[partition] = soon_ms if due_ms == inf else max(due_ms, soon_ms)
        self._intake.rest(partition)
        return True

    def _may_begin(self, found: Record | Unreadable) -> bool:
        """Whether nothing that others died of keeps it waiting, and with it all behind it."""
        care = self._care
        return not care.active or care.lets((found.topic, found.partition), found.offset)

    def _shed(self) -> None:
        """Have waiting work leave memory where it blocks a higher lane."""
        if victims := self._intake.to_shed():
            dropped = self.drop(victims, started=False)
            self._intake.shed(dropped)
            log.info("waiting work left memory, it is read again later", requests=len(dropped))

    def regate(self) -> None:
        """Have the reader follow the gates, and go back where something is to be read again."""
        for partition, due_ms in [*self._resting.items()]:
            if self._clock.now_ms(partition) >= due_ms:
                del self._resting[partition]
                self._intake.wake(partition)
        if self._twins:
            self._twins.look()
        self._gate.look()
        self._care.look()
        intake, gated = self._intake, set(self._intake.gated)
        if gated != self._gated:
            self.reader.gate(gated)
            self._gated = gated
        for partition in intake.partitions() - gated:
            offset, epoch = intake.rewind(partition), intake.epoch(partition)
            if offset is not None and epoch is not None:
                self.reader.read({partition: (epoch, offset)})

    def close(self) -> None:
        """Take nothing more."""
        self._closed = True

    def drop(self, partitions: Set[Partition], *, started: bool = True) -> list[Record]:
        """Forget the work of these partitions, without an outcome here; returns its records."""
        dropped = self._service.drop(partitions, started=started)
        for part in (self._unresolved, self._fetching, self._twins, self.toll, self._gate):
            dropped += part.drop(partitions) if part else ()
        if self.toll:
            self.toll.lost(dropped)
        if self._twins:
            self._twins.lost(dropped)
            if started:
                self._twins.leave(partitions)
        return dropped

    def _guarded(self, record: Record, take: Callable[[Record], None] | None = None) -> None:
        """Whatever is wrong with us and one record, the others go on, and it gets an outcome."""
        try:
            (take or self.on_record)(record)
        except Exception:
            log.exception("a request was not taken", topic=record.topic, offset=record.offset)
            message = "the node failed to take the request; its log says why"
            request_id = self._readable_id(record)
            error = RequestError(Code.INFERENCE_FAILED, message, request_id=request_id)
            self._bury(record, error)

    def on_record(self, record: Record) -> None:
        """Admit one record, or bury it.

        (1) Read again after a rebalance, or finished before a restart: nothing to do.
        (2) It has ended nodes, or its headers cannot even be represented: buried as it is. It
            only asks whether it arrives: answered.
        (3) Too large, or no request: buried with its code.
        (4) Its schema id is not known yet: taken up again when the registry has been asked.
        (5) It was handed on before a restart, and has its outcome already.
        (6) Its id was asked before: it waits until it is known how that ends. A copy: it waits
            until it may begin.
        (7) A request: the service admits it, hands it on or refuses it,
        (8) after its inputs were fetched, where they are references and its model is served here.
        """
        # (1)
        if not self._intake.begin(record):
            if self._twins:
                self._twins.passed(record)
            return
        # (2)
        if tries := self._care.tries((record.topic, record.partition), record.offset):
            self._set_aside(record, tries)
            return
        if isinstance(record, LostRecord):
            message = "a header name is not UTF-8; the record cannot be read"
            self._bury(record, RequestError(Code.UNDECODABLE, message))
            return
        self._clock.heard(record.timestamp, (record.topic, record.partition), record.offset)
        if not (self._probes and self._probes.takes(record)):
            self.ages.began(record)
            self._take(record)

    def _set_aside(self, record: Record, tries: int) -> None:
        """Bury what has ended so many nodes while they did nothing else; its value is not decoded.

        Its id is read once, where that needs no more than the first field.
        """
        log.error("set aside: it ended nodes", topic=record.topic, offset=record.offset)
        is_text = is_json(record.value, record.headers)
        told = dict(record.headers).get(REQUEST_ID) if is_text else None
        found = text_of(told) if is_text or tries > MOST_TRIES else self._readable_id(record)
        message = (
            f"{tries} nodes ended while they had begun this request and nothing else; it is kept "
            "as a dead letter: look at a node's log and memory before it is replayed"
        )
        error = RequestError(Code.WORKER_CRASH, message, request_id=found)
        self._burials.undecodable(record, error, self._arrivals.unproved(record))

    def _bury(self, record: Record, error: RequestError) -> None:
        """It is no request; what is told of it is its claimed principal's only where that holds."""
        principal = self._arrivals.unproved(record)
        if any(name == SIGNATURE for name, _ in record.headers):
            with suppress(Exception):  # whatever is wrong with it, it is buried
                plain = self._plain(record) or b""
                request = self._arrivals.request(record, decode_request_head(plain), plain)
                principal = request.principal
        self._burials.undecodable(record, error, principal)

    def _take(self, record: Record) -> None:
        """Steps (3) to (8); the limit holds for the bytes on the topic."""
        value = record.value
        # (3)
        try:
            if value is not None and len(value) > self._max_bytes:
                raise self._too_large(record)
            plain = self._plain(record)
            # (4)
            if plain is None and self._unresolved and value:
                self._unresolved.add(record)
                return
            head = decode_request_head(plain)
            if not head.request_id:
                raise Undecodable(Code.UNDECODABLE, "request_id is empty; send a unique one")
        except Undecodable as error:
            self._bury(record, error)
            return
        # (5)
        if self._intake.is_answered(record, head.request_id):
            self._intake.done(record)
            if self._twins:
                self._twins.passed(record)
            return
        # (6)
        request = self._arrivals.request(record, head, plain or b"")
        if record.topic == self._shadow:
            self._gate.take(request)
        elif not (self._twins and self._twins.takes(request)):
            self._admit(request)

    def _admit(self, request: Incoming) -> None:
        """Steps (7) and (8)."""
        if request.handed_on is None:
            self.on_first()
        if not (self.toll and self.toll.takes(request)):
            self._enter(request)

    def _enter(self, request: Incoming) -> None:
        fetching = self._fetching
        if not (fetching and self._service.takes(request) and fetching.takes(request)):
            self._service.accept(request)

    def admit(self, request: Incoming) -> None:
        """Admit a request that has waited; whatever is wrong with us, it gets an outcome."""
        self._guarded(request.record, lambda _: self._admit(request))

    def enter(self, request: Incoming) -> None:
        """Go on with one that has waited and has paid; it gets an outcome as above."""
        self._guarded(request.record, lambda _: self._enter(request))

    def begin(self, request: Incoming) -> None:
        """Go on with a copy that has waited; nobody pays for it."""
        self.enter(request)
        self._service.arm()

    def _plain(self, record: Record) -> bytes | None:
        """The value in single-object encoding; None: there is none, or its schema is not known yet.

        Raises Undecodable.
        """
        value = record.value
        if value and is_json(value, record.headers):
            return encode_json(value, record.key, record.headers, *first_place(record))
        return self._schemas.plain(value) if self._schemas and value else value

    def _resolved(self, record: Record, error: RequestError | None) -> None:
        """The registry has been asked for the record's schema id, or does not answer."""
        if error:
            self._bury(record, error)
        else:
            self._guarded(record, self._take)
        self._service.arm()

    def _too_large(self, record: Record) -> Undecodable:
        return Undecodable(
            Code.TOO_LARGE,
            f"the value has {len(record.value or b'')} bytes, {self._max_bytes} are allowed; "
            "send large inputs as object references",
            request_id=self._readable_id(record),
        )

    def _readable_id(self, record: Record) -> str:
        value = record.value
        if value and self._schemas and not is_json(value, record.headers):
            value = self._schemas.framing.plain(value)
        return request_id_of(record, value)


def _record_of(found: Record | Unreadable) -> Record:
    if isinstance(found, Unreadable):
        return LostRecord(found.topic, found.partition, found.offset, found.epoch)
    return found
