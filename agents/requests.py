"""From the request topics to the service: decode, dead-letter what is no request, never wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Protocol

import structlog

from modelmora.agents.intake import Batch, Intake
from modelmora.agents.ledger import Partition
from modelmora.agents.unresolved import Unresolved
from modelmora.errors import Code, RequestError, Undecodable
from modelmora.kafka.schema_registry import Schemas
from modelmora.kafka.topics import lane_topics
from modelmora.kafka.unreadable import Unreadable
from modelmora.messages import RequestHead
from modelmora.serving import BrokerClock, Incoming, Record, Service
from modelmora.serving.request import GATEWAY, PRINCIPAL, TRACEPARENT
from modelmora.settings import Settings
from modelmora.wire import decode_request_head, readable_request_id

log = structlog.get_logger(__name__)
_BREATH = 250  # records between two looks at the rest of the event loop


class Burials(Protocol):
    """Where records go that are no requests."""

    def undecodable(self, record: Record, error: RequestError) -> None:
        """Dead-letter the record; its outcome is FAILED where its id is readable."""


@dataclass(slots=True)
class LostRecord:
    """Stands for a record of which the client library can hand over only the place."""

    topic: str
    partition: int
    offset: int
    timestamp: int = 0
    key: bytes | None = None
    value: bytes | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()


class Requests:
    """Takes each fetched batch apart; every record ends up with the service or as a dead letter."""

    def __init__(
        self,
        settings: Settings,
        intake: Intake,
        service: Service,
        burials: Burials,
        clock: BrokerClock,
        schemas: Schemas | None = None,
    ) -> None:
        self._lanes = lane_topics(settings)
        self._max_bytes = settings.limits.request_bytes
        self._intake = intake
        self._service = service
        self._burials = burials
        self._clock = clock
        self._schemas = schemas
        self._unresolved = Unresolved(schemas, self._resolved) if schemas else None

    async def on_batch(self, batch: Batch) -> None:
        """One event of the agent: a batch of one partition. Never raises."""
        first = batch.records[0]
        if not self._intake.follows((first.topic, first.partition), batch.after):
            log.error("records were lost on their way here; they are read again")
            return
        epoch = self._intake.epoch
        for number, record in enumerate(batch.records, 1):
            self._guarded(record)
            if number % _BREATH == 0:
                self._service.arm()
                await asyncio.sleep(0)
                if self._intake.epoch != epoch:
                    break  # the rest is read again under the new assignment
        self._service.arm()

    def drop(self, partitions: Set[Partition]) -> list[Record]:
        """Forget the records of these partitions that wait for their schema; returns them."""
        return self._unresolved.drop(partitions) if self._unresolved else []

    def _guarded(
        self, found: Record | Unreadable, take: Callable[[Record], None] | None = None
    ) -> None:
        """Whatever is wrong with us and one record, the others go on, and it gets an outcome."""
        try:
            if take:
                take(_of(found))
            else:
                self.on_record(found)
        except Exception:
            log.exception("a request was not taken", topic=found.topic, offset=found.offset)
            record, request_id = _of(found), ""
            if record.value is not None:
                request_id = readable_request_id(self._readable(record.value))
            message = "the node failed to take the request; its log says why"
            error = RequestError(Code.INFERENCE_FAILED, message, request_id=request_id)
            self._burials.undecodable(record, error)

    def on_record(self, found: Record | Unreadable) -> None:
        """Admit one record, or bury it.

        (1) Read again after a rebalance, or finished before a restart: nothing to do.
        (2) Its headers cannot even be represented: buried by its place.
        (3) Too large, or no request: buried with its code.
        (4) Its schema id is not known yet: taken up again when the registry has been asked.
        (5) A request: the service admits or refuses it.
        """
        record = _of(found)
        # (1)
        if not self._intake.begin(record):
            return
        # (2)
        if isinstance(found, Unreadable):
            message = "a header name is not UTF-8; the record cannot be read"
            self._burials.undecodable(record, RequestError(Code.UNDECODABLE, message))
            return
        self._clock.heard(record.timestamp)
        self._take(record)

    def _take(self, record: Record) -> None:
        """Steps (3) to (5); the limit holds for the bytes on the topic."""
        value = record.value
        # (3)
        try:
            if value is not None and len(value) > self._max_bytes:
                raise self._too_large(value)
            plain = self._schemas.plain(value) if self._schemas and value else value
            # (4)
            if plain is None and self._unresolved and value:
                self._unresolved.add(record)
                return
            head = decode_request_head(plain)
            if not head.request_id:
                raise Undecodable(Code.UNDECODABLE, "request_id is empty; send a unique one")
        except Undecodable as error:
            self._burials.undecodable(record, error)
            return
        # (5)
        request = self._incoming(record, head)
        if plain is not value:
            request.value = plain
        self._service.accept(request)

    def _resolved(self, record: Record, error: RequestError | None) -> None:
        """The registry has been asked for the record's schema id, or does not answer."""
        if error:
            self._burials.undecodable(record, error)
        else:
            self._guarded(record, self._take)
        self._service.arm()

    def _too_large(self, value: bytes) -> Undecodable:
        return Undecodable(
            Code.TOO_LARGE,
            f"the value has {len(value)} bytes, {self._max_bytes} are allowed; "
            "send large inputs as object references",
            request_id=readable_request_id(self._readable(value)),
        )

    def _readable(self, value: bytes) -> bytes | None:
        return self._schemas.framing.plain(value) if self._schemas else value

    def _incoming(self, record: Record, head: RequestHead) -> Incoming:
        lane = self._lanes[record.topic]
        if not record.headers:
            return Incoming(record, head, lane, tell=head.progress)
        headers = dict(record.headers)
        return Incoming(
            record,
            head,
            lane,
            principal=_text(headers.get(PRINCIPAL)) or "local",
            traceparent=_text(headers.get(TRACEPARENT)),
            tell=head.progress or GATEWAY in headers,
        )


def _of(found: Record | Unreadable) -> Record:
    if isinstance(found, Unreadable):
        return LostRecord(found.topic, found.partition, found.offset)
    return found


def _text(value: bytes | None) -> str:
    return value.decode("utf-8", "replace")[:256] if value else ""
