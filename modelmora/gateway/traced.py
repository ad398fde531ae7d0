"""The hall behind every door, with a span for each request that is asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from aiokafka import ConsumerRecord

from modelmora.gateway.calls.jobs import Job
from modelmora.gateway.hall import Ask, Heard
from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.rights.permitted import Permitted
from modelmora.messages import InferenceResult
from modelmora.messages.headers import TRACEPARENT, header_of
from modelmora.messages.traceparent import is_sampled, trace_id_of
from modelmora.telemetry import conventions as names
from modelmora.telemetry.spans import Spans, failed, traceparent_of
from modelmora.telemetry.writing import follow


class Traced(Permitted):
    """What `Permitted` is; `spans` None: traces are passed on, and nothing is recorded."""

    spans: Spans | None = None

    async def infer(self, ask: Ask, heard: Heard | None = None) -> InferenceResult:
        """As `Permitted` has it."""
        if not (self.spans and self.spans.records(ask.traceparent)):
            return await super().infer(ask, heard)
        with _span(self.spans, ask) as traced:
            return await super().infer(traced, heard)

    async def submit(self, ask: Ask) -> Job:
        """As `Permitted` has it; the span ends when the request is written."""
        if not (self.spans and self.spans.records(ask.traceparent)):
            return await super().submit(ask)
        with _span(self.spans, ask) as traced:
            return await super().submit(traced)


@contextmanager
def _span(spans: Spans, ask: Ask) -> Iterator[Ask]:
    facts = {names.MODEL: ask.model, names.DOOR: ask.door, names.LANE: ask.lane.label}
    if ask.request_id:
        facts[names.REQUEST_ID] = ask.request_id
    span = spans.served(names.INFER, ask.traceparent, facts)
    trace = traceparent_of(span)
    if span.is_recording():
        ask.course.on_record = partial(follow, spans)
        ask.course.on_outcome = partial(_read, spans, trace)
    try:
        yield replace(ask, traceparent=trace)
    except Refusal as refusal:
        failed(span, str(refusal.code))
        raise
    except asyncio.CancelledError:
        failed(span, "cancelled")
        raise
    finally:
        span.end()


def _read(spans: Spans, trace: str, record: ConsumerRecord) -> None:
    """A span of an outcome, from its append to here, unless it is that of another's request."""
    told = (header_of(record.headers, TRACEPARENT) or b"").decode("latin-1")
    if not is_sampled(told) or trace_id_of(told) != trace_id_of(trace):
        return
    facts = names.message(names.PROCESS, record.topic, record.partition, record.offset)
    passed_ms = max(0.0, time.time() * 1000 - record.timestamp)
    spans.processed(names.named(names.PROCESS, record.topic), told, facts, passed_ms)
