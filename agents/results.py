"""Outcomes: published, acknowledged by the broker, and only then marked done in the ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import structlog

from modelmora.access.signing import Signer
from modelmora.agents.copies import Copies, Headers, nobody, whose
from modelmora.agents.deadletters import headers_of, leaves_letter, shortened
from modelmora.agents.handon import headers_on
from modelmora.agents.lifecycle import Lifecycle
from modelmora.errors import RequestError
from modelmora.kafka.sizes import MOST_RESULT_BYTES, RECORD_BYTES, outputs_too_large
from modelmora.kafka.topics import Topic
from modelmora.kafka.writing.publisher import Answer, Dropped, Ends, TooLarge, Written
from modelmora.kafka.writing.publisher import Record as Outgoing
from modelmora.messages import (
    ErrorInfo,
    EventKind,
    Parameter,
    ProgressEvent,
    ProgressStage,
    ResultHead,
    Source,
    Status,
    Timings,
    outcome_status,
)
from modelmora.messages.headers import CONTENT, ERROR_CODE, JOB, RUN, TRACEPARENT
from modelmora.objects.moving import Mover
from modelmora.scheduling import ModelKey, Position
from modelmora.serving import BrokerClock, Incoming, Record
from modelmora.serving.request import read_at, reply_partition
from modelmora.wire import encode_progress, encode_result_head, read_run
from modelmora.wire.codec import NO_OUTPUTS
from modelmora.wire.handed import HandedOn
from modelmora.workers import Chunk

log = structlog.get_logger(__name__)

Again = Callable[[Incoming, RequestError, Callable[[RequestError], None]], None]
SendAfter = Callable[[Outgoing | None], None]
"""Sends what ends a request, after this dead letter."""


class Sender(Protocol):
    """Writes records; see `modelmora.kafka.writing.publisher`."""

    def send(self, record: Outgoing) -> None:
        """Take a record; returns at once."""


class Owned(Protocol):
    """What the outcomes ask of the intake."""

    def owes(self, record: Record) -> bool:
        """Whether this node still owes the record's outcome."""

    def done(self, record: Record) -> None:
        """The outcome is acknowledged."""

    def handed_on(self, record: Record) -> None:
        """The broker has it elsewhere."""


class Results:
    """The service's `Outcomes`, as records on topics; progress goes by a sender of its own.

    Order of writes: large outputs as objects, dead letter, copies, result, done. Whatever belongs
    to a partition that has moved to another node is dropped, here or on its way: that one answers.
    """

    def __init__(
        self,
        sender: Sender,
        teller: Sender,
        owned: Owned,
        clock: BrokerClock,
        lifecycle: Lifecycle,
        namespace: str,
        copies: Copies | None = None,
        mover: Mover | None = None,
        signer: Signer | None = None,
    ) -> None:
        self._mover = mover
        self._signer = signer
        self._sender = sender
        self._teller = teller
        self._owned = owned
        self._clock = clock
        self._lifecycle = lifecycle
        self._results = Topic.RESULTS.full(namespace)
        self._copies = copies or Copies(namespace)
        self._progress = Topic.PROGRESS.full(namespace)
        self._dead_letters = Topic.DEAD_LETTERS.full(namespace)
        self.on_outcome: Callable[[Incoming, ResultHead], None] = lambda *_: None
        self.letters = 0
        """How many have left a dead letter."""
        self.settle: Callable[[Incoming, ResultHead | None, bytes], None] = lambda *_: None
        self.again: Again = lambda _, error, end: end(error)
        """Has what failed tried again later, or ends it so."""

    # Outcomes ------------------------------------------------------------------------------------

    def completed(
        self,
        request: Incoming,
        model: ModelKey,
        outputs: bytes,
        settings: Mapping[str, Parameter],
        timings: Timings,
        attempt: int,
    ) -> None:
        """The model's outputs, which the child has encoded; large ones are kept elsewhere first."""
        what = (request.head.request_id, Status.COMPLETED, *model, request.source)
        used = request.used(settings)
        head = ResultHead(*what, used, None, timings, attempt, request.run)
        if self._mover is None or len(outputs) <= self._mover.inline_bytes:
            self._ending(request, head, outputs)(None)
            return

        def moved(told: bytes | RequestError) -> None:
            if isinstance(told, RequestError):
                self.failed(request, model, told, timings, attempt)
            else:
                self._ending(request, head, told)(None)

        request.ended = True
        owes = partial(self._owned.owes, request.record)
        self._mover.move(outputs, request.principal, owes, moved)

    def failed(
        self,
        request: Incoming,
        model: ModelKey,
        error: RequestError,
        timings: Timings,
        attempt: int,
        exit_code: int | None = None,
    ) -> None:
        """No result, and why; with a dead letter first where the code asks for one.

        Unless it is tried again later.
        """

        def end(error: RequestError) -> None:
            name = model[0] or request.head.model[:96]
            info = ErrorInfo(error.code, error.message, error.retry_after_ms)
            what = (request.head.request_id, outcome_status(error.code), name, model[1])
            used = request.used({})
            head = ResultHead(*what, request.source, used, info, timings, attempt, request.run)
            send = self._ending(request, head, NO_OUTPUTS)
            if leaves_letter(request.record, info):
                self._bury(request.record, head, error, exit_code, send)
            else:
                send(None)

        self.again(request, error, end)

    def repeated(self, request: Incoming, head: ResultHead, outputs: bytes) -> None:
        """It ends as another request of its id, which has the letter if there is one."""
        self._ending(request, head, outputs)(None)

    def hand_on(
        self,
        request: Incoming,
        to: tuple[str, int],
        told: HandedOn,
        otherwise: Callable[[], None],
    ) -> None:
        """Write the record as it is to another partition, where it is to be read again.

        Only its headers change. `otherwise` gives its outcome where the topic does not take it.
        """
        record, (topic, partition) = request.record, to
        request.ended = True
        self.settle(request, None, NO_OUTPUTS)

        def done(answer: Answer) -> None:
            if isinstance(answer, Written):
                self._heard(topic, answer)
                self._owned.handed_on(record)
            elif not isinstance(answer, Dropped):
                otherwise()

        headers = headers_on(request, told, self._signer)
        written = Outgoing(topic, record.key, record.value, done, headers, partition, as_is=True)
        written.optional = True
        self._send(record, written)

    def undecodable(self, record: Record, error: RequestError, principal: str) -> None:
        """A record that is no request: FAILED where its id is readable, and a dead letter.

        What is told of it is told as this principal's.
        """
        send: SendAfter = partial(self._end, record)
        info = ErrorInfo(error.code, error.message)
        head = ResultHead(
            error.request_id,
            outcome_status(error.code),
            "",
            "",
            Source(record.topic, record.partition, record.offset),
            error=info,
            run=read_run(dict(record.headers).get(RUN)),
        )
        if error.request_id:
            send = partial(self._send_result, record, head, NO_OUTPUTS, whose(principal))
        if not error.request_id or leaves_letter(record, info):
            self._bury(record, head, error, None, send)
        else:
            send(None)

    # Progress and events -------------------------------------------------------------------------

    def accepted(self, request: Incoming, model: ModelKey, position: Position) -> None:
        """It waits: how many are ahead, and for how long if that was ever measured."""
        wait_ms = None if position.wait_s is None else position.wait_s * 1000
        told = {"position": position.ahead, "estimate_ms": wait_ms, "loading": position.loading}
        self._tell(request, model, ProgressStage.ACCEPTED, **told)

    def started(self, request: Incoming, model: ModelKey) -> None:
        """Its worker has begun."""
        self._tell(request, model, ProgressStage.STARTED)

    def progressed(self, request: Incoming, model: ModelKey, chunk: Chunk, attempt: int) -> None:
        """It has more of its output, or has come so many steps further."""
        self._tell(
            request,
            model,
            ProgressStage.CHUNK,
            chunk=chunk.text.encode() or None,
            attempt=attempt,
            sequence=chunk.sequence,
            step=chunk.step or None,
            steps=chunk.steps or None,
        )

    def event(self, kind: EventKind, model: ModelKey, facts: Mapping[str, Parameter]) -> None:
        """Something happened to a model."""
        self._lifecycle.event(kind, model, facts)

    def _tell(self, request: Incoming, model: ModelKey, stage: ProgressStage, **facts: Any) -> None:
        request_id = request.head.request_id
        event = ProgressEvent(request_id, stage, "@".join(model), **facts)
        value = encode_progress(event)
        key, partition = request_id.encode(), reply_partition(request.record)
        headers = (*whose(request.principal), *(((JOB, b"1"),) if request.job else ()))
        told = Outgoing(self._progress, key, value, nobody, headers, partition)
        self._teller.send(told)

    def _heard(self, topic: str, answer: Written) -> None:
        self._clock.acknowledged(answer.timestamp, (topic, answer.partition), answer.offset)

    # Writing -------------------------------------------------------------------------------------

    def _ending(self, request: Incoming, head: ResultHead, outputs: bytes) -> SendAfter:
        """The request ends so; what is returned sends its result."""
        request.ended = True
        self.on_outcome(request, head)
        self.settle(request, head, outputs)
        headers: Headers = ((CONTENT, content.encode()),) if (content := request.content) else ()
        if request.traceparent:
            headers = (*headers, (TRACEPARENT, request.traceparent.encode()))
        headers = (*headers, *whose(request.principal))
        return partial(self._send_result, request.record, head, outputs, headers)

    def _send_result(
        self,
        record: Record,
        head: ResultHead,
        outputs: bytes,
        told: Headers,
        letter: Outgoing | None,
    ) -> None:
        headers = told
        if head.error:
            headers = (*headers, (ERROR_CODE, head.error.code.value.encode()))
        if head.source != Source(record.topic, record.partition, record.offset):
            headers = (*headers, read_at(record))
        value, partition = encode_result_head(head, outputs), reply_partition(record)
        copies = self._copies.of(record, head, value, headers)
        if copies and len(value) > MOST_RESULT_BYTES:  # what a copy told is not to be taken back
            self._on_result(record, head, told, letter, TooLarge())
            return

        def done(answer: Answer) -> None:
            # Where it is still there, the letter was refused together with the result.
            left = letter if letter in result.parts else None
            self._on_result(record, head, told, left, answer)

        key = head.request_id.encode()
        result = Outgoing(self._results, key, value, done, headers, partition)
        self._send_behind(record, result, copies, letter)

    def _send_behind(
        self,
        record: Record,
        result: Outgoing,
        copies: Sequence[Outgoing],
        letter: Outgoing | None,
    ) -> None:
        """The result after its letter and its copies, and without those that no topic takes."""

        def done(copy: Outgoing, answer: Answer) -> None:
            if self._copies.answered(copy.topic, answer):
                open_ = {*copy.parts, *copies[copies.index(copy) :]} - {copy}
                left = [each for each in copies if each in open_]
                self._send_behind(record, result, left, letter if letter in open_ else None)

        before = letter
        for copy in copies:
            copy.after, copy.done = before, partial(done, copy)
            before = copy
        result.after = before
        self._send(record, result)

    def _end(self, record: Record, letter: Outgoing | None) -> None:
        """A record without an id ends with its dead letter."""
        if letter is None:
            self._owned.done(record)
            return
        told = letter.done

        def done(answer: Answer) -> None:
            told(answer)
            if isinstance(answer, Written):
                self._owned.done(record)

        letter.done = done
        self._send(record, letter)

    def _send(self, record: Record, outgoing: Outgoing) -> None:
        if not self._owned.owes(record):
            return
        outgoing.ends = Ends((record.topic, record.partition), record.epoch, record.offset)
        for each in outgoing.parts:
            each.wanted = partial(self._owned.owes, record)
        self._sender.send(outgoing)

    def _on_result(
        self,
        record: Record,
        head: ResultHead,
        told: Headers,
        letter: Outgoing | None,
        answer: Answer,
    ) -> None:
        if isinstance(answer, Dropped):
            return
        if isinstance(answer, Written):
            self._heard(self._results, answer)
            self._owned.done(record)
            return
        if head.error:  # without outputs it is the id that no topic takes
            cut = replace(head, request_id=head.request_id[:256])
            self._send_result(record, cut, NO_OUTPUTS, told, letter)
            return
        # Outputs that no topic takes: the request fails with a reason, and says which.
        error = outputs_too_large(RECORD_BYTES)
        info = ErrorInfo(error.code, error.message)
        smaller = replace(head, status=Status.FAILED, settings={}, error=info)
        send = partial(self._send_result, record, smaller, NO_OUTPUTS, told)
        self._bury(record, head, error, None, send)

    def _bury(
        self,
        record: Record,
        head: ResultHead,
        error: RequestError,
        exit_code: int | None,
        send: SendAfter,
    ) -> None:
        """Have the result sent with a dead letter before it, shortened where it must be."""
        self.letters += 1
        headers = headers_of(record, head, error, exit_code)

        def on_whole(answer: Answer) -> None:
            if isinstance(answer, Written):
                self._heard(self._dead_letters, answer)
            if not isinstance(answer, TooLarge):
                return
            ours = headers[len(record.headers) :]  # the record's may be as large as they like
            value, kept = shortened(record.value, ours)
            send(Outgoing(self._dead_letters, None, value, on_short, kept))

        def on_short(answer: Answer) -> None:
            if isinstance(answer, TooLarge):
                log.error("dead letter refused even shortened", offset=record.offset)
                send(None)

        send(Outgoing(self._dead_letters, record.key, record.value, on_whole, tuple(headers)))
