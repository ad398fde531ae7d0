"""The hall behind every door, with a span for each request that is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from modelmora.gateway.calls.jobs import Job
from modelmora.gateway.hall import Ask, Heard
from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.rights.permitted import Permitted
from modelmora.messages import InferenceResult
from modelmora.telemetry import conventions as names
from modelmora.telemetry.spans import Spans, failed, header_of


class Traced(Permitted):
    """What `Permitted` is; `spans` None: traces are passed on, and nothing is recorded."""

    spans: Spans | None = None

    async def infer(self, ask: Ask, heard: Heard | None = None) -> InferenceResult:
        """As `Permitted` has it."""
        if not self.spans:
            return await super().infer(ask, heard)
        with _span(self.spans, ask) as traced:
            return await super().infer(traced, heard)

    async def submit(self, ask: Ask) -> Job:
        """As `Permitted` has it; the span ends when the request is written."""
        if not self.spans:
            return await super().submit(ask)
        with _span(self.spans, ask) as traced:
            return await super().submit(traced)


@contextmanager
def _span(spans: Spans, ask: Ask) -> Iterator[Ask]:
    facts = {names.MODEL: ask.model, names.DOOR: ask.door, names.LANE: ask.lane.label}
    if ask.request_id:
        facts[names.REQUEST_ID] = ask.request_id
    span = spans.served("infer", ask.traceparent, facts)
    try:
        yield replace(ask, traceparent=header_of(span))
    except Refusal as refusal:
        failed(span, str(refusal.code))
        raise
    except asyncio.CancelledError:
        failed(span, "cancelled")
        raise
    finally:
        span.end()
