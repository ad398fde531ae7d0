"""Spans beside a collector that is no help."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from modelmora.messages.headers import NewTrace
from modelmora.messages.traceparent import new_trace
from modelmora.telemetry import spans
from modelmora.telemetry.spans import Spans
from tests.spans_kept import Kept


def test_a_collector_that_does_not_answer_holds_up_no_stop() -> None:
    """What the SDK still tries goes on in a thread that does not keep the process."""
    answered, trying = threading.Event(), threading.Event()

    def shutdown() -> None:
        trying.set()
        assert threading.current_thread().daemon
        answered.wait(60)

    provider = SimpleNamespace(get_tracer=lambda _: None, shutdown=shutdown)
    before = spans.CLOSE_S
    spans.CLOSE_S = 0.05
    try:
        Spans(cast("Any", provider)).close()
        assert trying.is_set()
        assert not answered.is_set()
    finally:
        spans.CLOSE_S = before
        answered.set()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
def test_what_is_recorded_is_known_as_the_sdk_decides_it(share: float) -> None:
    spans, found = Kept(share), set()
    for _ in range(300):
        begun = NewTrace(new_trace(sampled=False))
        found.add(known := spans.records(begun))
        assert known == spans.served("infer", begun, {}).is_recording()
    assert found == {0.0: {False}, 1.0: {True}}.get(share, found)
    assert spans.records(new_trace(sampled=True))
    assert not spans.records(new_trace(sampled=False))
