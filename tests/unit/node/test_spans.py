"""Spans of batches, and of requests that ran in them."""

from __future__ import annotations

from typing import Any, cast

import pytest

from modelmora.messages import ResultHead, Source, Status, Timings
from modelmora.messages.traceparent import ids_of, new_trace, sibling
from modelmora.node.spans import Batches, tell
from modelmora.scheduling import Group
from modelmora.serving import Incoming
from modelmora.testing.fakes import incoming
from tests.spans_kept import Kept

SAMPLED, UNSAMPLED = (f"00-{'a' * 32}-{'b' * 16}-{flags}" for flags in ("01", "00"))
OUTSIDE = ""


class Work:
    def __init__(self, request: Incoming) -> None:
        self.meta = request


def group(*traces: str) -> tuple[Group, list[Incoming]]:
    requests = [incoming() for _ in traces]
    for request, trace in zip(requests, traces, strict=True):
        request.traceparent = trace
    works = cast("Any", tuple(map(Work, requests)))
    return Group(5, ("echo", "1"), 2, works, 1), requests


def test_a_batch_is_a_trace_of_its_own_that_is_linked_with_what_is_recorded() -> None:
    spans = Kept(share=0.0)
    batches, other = Batches(spans), sibling(SAMPLED)
    ran, requests = group(SAMPLED, UNSAMPLED, other, OUTSIDE)
    batches.begun(ran)
    requests[0].traceparent = "another by now"
    batches.done(2, 5, 12.0)
    (span,) = spans.ended
    context = span.get_span_context()
    assert context
    assert span.start_time
    assert span.end_time
    assert {ids_of(each.batch) for each in requests} == {(context.trace_id, context.span_id)}
    assert context.trace_id != ids_of(SAMPLED)[0]
    assert span.parent is None
    linked = [(link.context.trace_id, link.context.span_id) for link in span.links]
    assert linked == [ids_of(SAMPLED), ids_of(other)]
    assert span.end_time - span.start_time == 12_000_000
    assert (span.attributes or {})["messaging.batch.message_count"] == 4


@pytest.mark.parametrize("traces", [(SAMPLED,), (UNSAMPLED, OUTSIDE)])
def test_what_runs_alone_or_is_not_recorded_is_no_batch(traces: tuple[str, ...]) -> None:
    spans = Kept()
    batches, (ran, requests) = Batches(spans), group(*traces)
    requests[0].batch = "the one of a child that has died"
    batches.begun(ran)
    batches.done(2, 5, 12.0)
    assert {each.batch for each in requests} == {""}
    assert not spans.ended


def test_a_batch_whose_child_has_died_is_not_told() -> None:
    spans = Kept()
    batches, (ran, _) = Batches(spans), group(SAMPLED, SAMPLED)
    batches.begun(ran)
    batches.gone(3)
    batches.gone(2)
    batches.done(2, 5, 12.0)
    assert not spans.ended


def outcome(**settings: Any) -> ResultHead:
    spent = Timings(queue_ms=2, load_ms=3, inference_ms=4, total_ms=9)
    return ResultHead("r", Status.COMPLETED, "m", "1", Source("t", 0, 0), settings, timings=spent)


def test_what_ran_in_a_batch_is_linked_with_it() -> None:
    spans, request = Kept(), incoming()
    request.traceparent, request.batch = SAMPLED, new_trace(sampled=True)
    caused = tell(spans, request, outcome(), "g")
    by_name = {span.name.partition(" ")[0]: span for span in spans.ended}
    assert set(by_name) == {"queue", "load", "child", "process"}
    (link,) = by_name["child"].links
    assert (link.context.trace_id, link.context.span_id) == ids_of(request.batch)
    process = by_name["process"].get_span_context()
    assert process
    assert ids_of(caused) == (process.trace_id, process.span_id)
    assert caused.endswith("-01")


@pytest.mark.parametrize("trace", [UNSAMPLED, OUTSIDE])
def test_what_is_not_recorded_goes_on_as_it_came(trace: str) -> None:
    spans, request = Kept(share=0.0), incoming()
    request.traceparent = trace
    assert tell(spans, request, outcome(), "g") == trace
    assert not spans.ended


def test_tokens_are_told_as_the_conventions_have_them() -> None:
    spans, request = Kept(), incoming()
    request.traceparent = SAMPLED
    tell(spans, request, outcome(prompt_tokens=3, completion_tokens=5, seed=7), "g")
    told = spans.ended[-1].attributes or {}
    counted = {name: value for name, value in told.items() if name.startswith("gen_ai.usage")}
    assert counted == {"gen_ai.usage.input_tokens": 3, "gen_ai.usage.output_tokens": 5}
