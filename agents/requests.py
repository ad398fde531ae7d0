"""From the request topics to the service: decode, dead-letter what is no request, never wait."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from modelmora.agents.intake import Intake
from modelmora.errors import Code, RequestError, Undecodable
from modelmora.kafka.topics import lane_topics
from modelmora.kafka.unreadable import Unreadable
from modelmora.messages import RequestHead
from modelmora.serving import BrokerClock, Incoming, Record, Service
from modelmora.serving.request import GATEWAY, PRINCIPAL, TRACEPARENT
from modelmora.settings import Settings
from modelmora.wire import decode_request_head, readable_request_id

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
    ) -> None:
        self._lanes = lane_topics(settings)
        self._max_bytes = settings.limits.request_bytes
        self._intake = intake
        self._service = service
        self._burials = burials
        self._clock = clock

    async def on_batch(self, records: Sequence[Record | Unreadable]) -> None:
        """One event of the agent: a batch of one partition, in offset order. Never raises."""
        epoch = self._intake.epoch
        for number, record in enumerate(records, 1):
            self.on_record(record)
            if number % _BREATH == 0:
                self._service.arm()
                await asyncio.sleep(0)
                if self._intake.epoch != epoch:
                    break  # the rest is read again under the new assignment
        self._service.arm()

    def on_record(self, found: Record | Unreadable) -> None:
        """Admit one record, or bury it.

        (1) Read again after a rebalance, or finished before a restart: nothing to do.
        (2) Its headers cannot even be represented: buried by its place.
        (3) Too large, or no request: buried with its code.
        (4) A request: the service admits or refuses it.
        """
        record: Record
        if isinstance(found, Unreadable):
            record = LostRecord(found.topic, found.partition, found.offset)
        else:
            record = found
        # (1)
        if not self._intake.begin(record):
            return
        # (2)
        if isinstance(found, Unreadable):
            message = "a header name is not UTF-8; the record cannot be read"
            self._burials.undecodable(record, RequestError(Code.UNDECODABLE, message))
            return
        self._clock.heard(record.timestamp)
        # (3)
        try:
            head = self._decode(record.value)
        except Undecodable as error:
            self._burials.undecodable(record, error)
            return
        # (4)
        self._service.accept(self._incoming(record, head))

    def _decode(self, value: bytes | None) -> RequestHead:
        if value is not None and len(value) > self._max_bytes:
            raise Undecodable(
                Code.TOO_LARGE,
                f"the value has {len(value)} bytes, {self._max_bytes} are allowed; "
                "send large inputs as object references",
                request_id=readable_request_id(value),
            )
        head = decode_request_head(value)
        if not head.request_id:
            raise Undecodable(Code.UNDECODABLE, "request_id is empty; send a unique one")
        return head

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


def _text(value: bytes | None) -> str:
    return value.decode("utf-8", "replace")[:256] if value else ""
