"""Spans of records on their way to the broker."""

from __future__ import annotations

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from modelmora.kafka.writing.outbox import Answer, Dropped, Record, Refused, TooLarge, Written
from modelmora.messages.headers import TRACEPARENT
from modelmora.messages.traceparent import ids_of
from modelmora.telemetry.writing import follow
from tests.spans_kept import Kept

SAMPLED = f"00-{'a' * 32}-{'b' * 16}-01"
OTHER = ("modelmora-principal", b"alice")


def record(trace: str, told: list[Answer]) -> Record:
    headers = ((TRACEPARENT, trace.encode()), OTHER)
    return Record("ns.requests.normal", b"k", b"v", told.append, headers)


def names(sent: Record) -> str:
    return (dict(sent.headers)[TRACEPARENT] or b"").decode()


def test_a_record_names_the_span_that_writes_it_which_its_cause_has() -> None:
    told: list[Answer] = []
    spans, sent = Kept(), record(SAMPLED, told)
    follow(spans, sent)
    sent.decided(answer := Written(3, 7, 0))
    (span,) = spans.ended
    context = span.get_span_context()
    assert context
    assert span.parent
    assert (context.trace_id, context.span_id) == ids_of(names(sent))
    assert (span.parent.trace_id, span.parent.span_id) == ids_of(SAMPLED)
    assert span.kind is SpanKind.PRODUCER
    assert span.name == "send ns.requests.normal"
    assert dict(span.attributes or {}) == {
        "messaging.system": "kafka",
        "messaging.operation.type": "send",
        "messaging.operation.name": "send",
        "messaging.destination.name": "ns.requests.normal",
        "messaging.destination.partition.id": "3",
        "messaging.kafka.offset": 7,
    }
    assert told == [answer]
    assert sent.headers[1] == OTHER


@pytest.mark.parametrize("trace", [SAMPLED[:-1] + "0", "", "nonsense", f"00-{'0' * 32}-x-01"])
def test_what_is_not_recorded_is_left_as_it_is(trace: str) -> None:
    told: list[Answer] = []
    spans, sent = Kept(), record(trace, told)
    follow(spans, sent)
    sent.decided(Written(0, 0, 0))
    assert (names(sent), len(told), spans.ended) == (trace, 1, ())


def test_evidence_keeps_the_headers_that_it_came_with() -> None:
    spans, sent = Kept(), record(SAMPLED, [])
    follow(spans, sent, {sent.topic})
    sent.decided(Written(0, 0, 0))
    assert names(sent) == SAMPLED
    assert len(spans.ended) == 1


def test_what_is_sent_twice_has_one_span() -> None:
    told: list[Answer] = []
    spans, sent = Kept(), record(SAMPLED, told)
    follow(spans, sent)
    follow(spans, sent)
    sent.decided(Written(0, 0, 0))
    assert (len(spans.ended), len(told)) == (1, 1)


@pytest.mark.parametrize(("answer", "error"), [(TooLarge(), "too_large"), (Refused(""), "refused")])
def test_what_the_broker_does_not_take_has_failed(answer: Answer, error: str) -> None:
    spans, sent = Kept(), record(SAMPLED, [])
    follow(spans, sent)
    sent.decided(answer)
    (span,) = spans.ended
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == error


def test_what_nobody_wanted_any_more_was_not_sent() -> None:
    told: list[Answer] = []
    spans, sent = Kept(), record(SAMPLED, told)
    follow(spans, sent)
    sent.decided(Dropped())
    assert (spans.ended, told) == ((), [Dropped()])
