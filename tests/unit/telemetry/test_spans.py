"""Spans beside a collector that is no help."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, cast

from modelmora.telemetry import spans
from modelmora.telemetry.spans import Spans


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
