"""Outcomes of copies: told on `compare` to who compares, and to nobody else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Protocol

import structlog

from modelmora.agents.copies import Headers, whose
from modelmora.agents.results import Owned, Results, Sender
from modelmora.errors import RequestError
from modelmora.kafka.sizes import RECORD_BYTES, outputs_too_large
from modelmora.kafka.topics import Topic
from modelmora.kafka.writing.publisher import Answer, Dropped, Ends, TooLarge, Written
from modelmora.kafka.writing.publisher import Record as Outgoing
from modelmora.messages import (
    ErrorInfo,
    EventKind,
    Parameter,
    ResultHead,
    Source,
    Status,
    Timings,
    outcome_status,
)
from modelmora.messages.headers import COMPARISON, ERROR_CODE, SHADOW_OF, header_of
from modelmora.scheduling import ModelKey, Position
from modelmora.serving import BrokerClock, Incoming, Record
from modelmora.wire import encode_result_head
from modelmora.wire.codec import NO_OUTPUTS
from modelmora.wire.handed import HandedOn
from modelmora.workers import Chunk

log = structlog.get_logger(__name__)
Facts = Mapping[str, Parameter]
Place = tuple[str, int]
Otherwise = Callable[[], None]
MALFORMED, LOST = "no_copy", "not_written"


class Gate(Protocol):
    """Who lets copies in; see `gate`."""

    def ended(self, request: Incoming, taken_ms: float) -> None:
        """A copy has its outcome, for which it has computed so long."""


class Compared:
    """Writes what became of copies; what no topic takes is counted, and gone."""

    def __init__(
        self,
        sender: Sender,
        owned: Owned,
        clock: BrokerClock,
        namespace: str,
        gate: Gate,
        count: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`count` is told how each copy has ended."""
        self._sender = sender
        self._owned = owned
        self._clock = clock
        self._topic = Topic.COMPARE.full(namespace)
        self._gate = gate
        self._count = count
        self._said = False

    def ended(self, request: Incoming, head: ResultHead, outputs: bytes) -> None:
        """A copy has ended so."""
        request.ended = True
        self._count(head.status.value.lower())
        self._gate.ended(request, head.timings.inference_ms)
        self._send(request.record, head, outputs, whose(request.principal))

    def undecodable(self, record: Record, error: RequestError, principal: str) -> None:
        """A record that is no request: it failed, where it says whose copy it is."""
        if not (error.request_id and header_of(record.headers, SHADOW_OF)):
            self._count(MALFORMED)
            self._owned.done(record)
            return
        source = Source(record.topic, record.partition, record.offset)
        info = ErrorInfo(error.code, error.message)
        head = ResultHead(error.request_id, outcome_status(error.code), "", "", source, error=info)
        self._count(head.status.value.lower())
        self._send(record, head, NO_OUTPUTS, whose(principal))

    def _send(self, record: Record, head: ResultHead, outputs: bytes, told: Headers) -> None:
        if not self._owned.owes(record):
            return
        names = (SHADOW_OF, COMPARISON)
        headers = (*((name, header_of(record.headers, name) or b"") for name in names), *told)
        if head.error:
            headers = (*headers, (ERROR_CODE, head.error.code.value.encode()))
        key, value = headers[0][1], encode_result_head(head, outputs)
        done = partial(self._done, record, head, told)
        outgoing = Outgoing(self._topic, key, value, done, headers, optional=True)
        outgoing.ends = Ends((record.topic, record.partition), record.epoch, record.offset)
        outgoing.wanted = partial(self._owned.owes, record)
        self._sender.send(outgoing)

    def _done(self, record: Record, head: ResultHead, told: Headers, answer: Answer) -> None:
        """It is written, or is not to be; outputs that no record takes are said to be too large."""
        if isinstance(answer, Dropped):
            return
        if isinstance(answer, Written):
            place = self._topic, answer.partition
            self._clock.acknowledged(answer.timestamp, place, answer.offset)
        elif isinstance(answer, TooLarge) and head.error is None:
            error = outputs_too_large(RECORD_BYTES)
            info = ErrorInfo(error.code, error.message)
            failed = replace(head, status=Status.FAILED, settings={}, error=info)
            self._send(record, failed, NO_OUTPUTS, told)
            return
        else:
            self._lost(answer)
        self._owned.done(record)

    def _lost(self, answer: Answer) -> None:
        self._count(LOST)
        if not self._said:
            self._said = True
            reason = getattr(answer, "reason", "the record is too large for it")
            log.warning("outcomes of copies are lost", topic=self._topic, reason=reason)


class Apart:
    """The node's outcomes: what becomes of copies goes its own way, all else as ever."""

    def __init__(self, results: Results, compared: Compared, shadow: str) -> None:
        """`shadow` is the topic of the copies."""
        self._results = results
        self._compared = compared
        self._shadow = shadow
        self.event: Callable[[EventKind, ModelKey, Facts], None] = results.event
        self.hand_on: Callable[[Incoming, Place, HandedOn, Otherwise], None] = results.hand_on
        self.repeated: Callable[[Incoming, ResultHead, bytes], None] = results.repeated

    def completed(
        self,
        request: Incoming,
        model: ModelKey,
        outputs: bytes,
        settings: Mapping[str, Parameter],
        timings: Timings,
        attempt: int,
    ) -> None:
        """The model's outputs."""
        if not request.copy:
            self._results.completed(request, model, outputs, settings, timings, attempt)
            return
        what = (request.request_id, Status.COMPLETED, *model, request.source)
        head = ResultHead(*what, request.used(settings), None, timings, attempt, request.run)
        self._compared.ended(request, head, outputs)

    def failed(
        self,
        request: Incoming,
        model: ModelKey,
        error: RequestError,
        timings: Timings,
        attempt: int,
        exit_code: int | None = None,
    ) -> None:
        """No result, and why."""
        if not request.copy:
            self._results.failed(request, model, error, timings, attempt, exit_code)
            return
        info = ErrorInfo(error.code, error.message, error.retry_after_ms)
        name = model[0] or request.head.model[:96]
        what = (request.request_id, outcome_status(error.code), name, model[1], request.source)
        head = ResultHead(*what, request.used({}), info, timings, attempt, request.run)
        self._compared.ended(request, head, NO_OUTPUTS)

    def accepted(self, request: Incoming, model: ModelKey, position: Position) -> None:
        """It waits."""
        if not request.copy:
            self._results.accepted(request, model, position)

    def started(self, request: Incoming, model: ModelKey) -> None:
        """Its worker has begun."""
        if not request.copy:
            self._results.started(request, model)

    def progressed(self, request: Incoming, model: ModelKey, chunk: Chunk, attempt: int) -> None:
        """It has come further."""
        if not request.copy:
            self._results.progressed(request, model, chunk, attempt)

    def undecodable(self, record: Record, error: RequestError, principal: str) -> None:
        """A record that is no request."""
        whom = self._compared if record.topic == self._shadow else self._results
        whom.undecodable(record, error, principal)
