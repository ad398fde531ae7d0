"""Spans over OpenTelemetry, which is imported only where they are asked for."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Self

from modelmora.errors import ConfigurationError
from modelmora.messages.headers import NewTrace
from modelmora.messages.traceparent import ids_of, is_sampled, named
from modelmora.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Link, Span, SpanContext

Facts = Mapping[str, str | int | float]
CLOSE_S = 3.0
_HALF_IDS = 1 << 64
"""The lower half of a trace's id is by which the SDK chooses a share of them."""
_ids: ContextVar[tuple[int, int]] = ContextVar("modelmora_ids")


class Spans:
    """Makes the spans of a process, and sends them in a thread of its own.

    Whether a trace is recorded is for who began it: the caller, or a share of those begun here.
    """

    def __init__(self, provider: TracerProvider, share: float = 1.0) -> None:
        self._provider = provider
        self._most = round(share * _HALF_IDS)
        self._tracer = provider.get_tracer("modelmora")

    @classmethod
    def of(cls, settings: Settings, part: str, instance: str) -> Self | None:
        """Those of a `node` or a `gateway`; None where `tracing.endpoint` is not set.

        Raises ConfigurationError where the extra `otel` is not installed.
        """
        endpoint = settings.tracing.endpoint
        if not endpoint:
            return None
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.trace.export import BatchSpanProcessor

            from modelmora.telemetry.provider import provider_of
        except ImportError:
            raise ConfigurationError(
                "tracing.endpoint needs OpenTelemetry: pip install 'modelmora[otel]'"
            ) from None
        provider = provider_of(settings.tracing.share, part, instance)
        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=5)
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1000))
        return cls(provider, settings.tracing.share)

    def records(self, traceparent: str) -> bool:
        """Whether a call of that trace, or of one that begins here, is recorded.

        As the SDK decides it, which takes far longer to say that it is not.
        """
        if isinstance(traceparent, NewTrace):
            return ids_of(traceparent)[0] % _HALF_IDS < self._most
        return is_sampled(traceparent)

    def served(self, name: str, traceparent: str, facts: Facts) -> Span:
        """A span of a call that begins now."""
        from opentelemetry.trace import SpanKind

        new = isinstance(traceparent, NewTrace)
        with _with_ids(ids_of(traceparent)[0] if new else 0, 0):
            context = _parent("" if new else traceparent)
            return self._tracer.start_span(name, context, SpanKind.SERVER, dict(facts))

    def processed(
        self,
        name: str,
        traceparent: str,
        facts: Facts,
        total_ms: float,
        parts: Mapping[str, tuple[float, float]] | None = None,
        error: str = "",
        links: Mapping[str, str] | None = None,
    ) -> str:
        """A span of a record that took so long until now, and of its parts.

        `parts` are (start, length) in ms from when it was appended, `links` the traceparent of a
        span that a part is linked with. Returns the `traceparent` of what it causes,
        which is the one that was given where it is not recorded.
        """
        from opentelemetry.trace import SpanKind, set_span_in_context

        end = time.time_ns()
        start = end - round(total_ms * 1e6)
        kind = SpanKind.CONSUMER
        span = self._tracer.start_span(
            name, _parent(traceparent), kind, dict(facts), start_time=start
        )
        if recorded := span.is_recording():
            inside = set_span_in_context(span)
            for part, (since_ms, took_ms) in (parts or {}).items():
                began = start + round(since_ms * 1e6)
                linked = _links([(links or {}).get(part, "")])
                child = self._tracer.start_span(part, inside, start_time=began, links=linked)
                child.end(began + round(took_ms * 1e6))
        failed(span, error)
        span.end(end)
        return traceparent_of(span) if recorded else traceparent

    def wrote(
        self, name: str, traceparent: str, parent: str, facts: Facts, took_s: float, error: str = ""
    ) -> None:
        """The span that `traceparent` names: of a record that took so long to be written."""
        from opentelemetry.trace import SpanKind

        end = time.time_ns()
        with _with_ids(*ids_of(traceparent)):
            span = self._tracer.start_span(
                name,
                _parent(parent),
                SpanKind.PRODUCER,
                dict(facts),
                start_time=end - round(took_s * 1e9),
            )
        failed(span, error)
        span.end(end)

    def ran(
        self, name: str, traceparent: str, linked: Iterable[str], facts: Facts, took_ms: float
    ) -> None:
        """A span of a run for several that took so long until now: that which `traceparent` names.

        It begins a trace of its own, which is recorded where one of those is that it is linked
        with.
        """
        end = time.time_ns()
        start = end - round(took_ms * 1e6)
        with _with_ids(*ids_of(traceparent)):
            span = self._tracer.start_span(
                name, _parent(""), attributes=dict(facts), links=_links(linked), start_time=start
            )
        span.end(end)

    def close(self) -> None:
        """Send what is left; blocks for CLOSE_S at most.

        Where the collector does not answer, the SDK goes on trying for half a minute: in a thread
        that ends with the process.
        """
        closing = threading.Thread(target=self._provider.shutdown, name="spans", daemon=True)
        closing.start()
        closing.join(CLOSE_S)


def chosen_ids() -> tuple[int, int]:
    """The trace and the span that the next span is to be; 0 where that is left to chance."""
    return _ids.get((0, 0))


@contextmanager
def _with_ids(trace: int, span: int) -> Iterator[None]:
    token = _ids.set((trace, span))
    try:
        yield
    finally:
        _ids.reset(token)


def failed(span: Span, error: str) -> None:
    """Say that it failed so, where it did."""
    from opentelemetry.trace import StatusCode

    from modelmora.telemetry.conventions import ERROR

    if error:
        span.set_attribute(ERROR, error)
        span.set_status(StatusCode.ERROR)


def traceparent_of(span: Span) -> str:
    """The `traceparent` of what the span causes."""
    context = span.get_span_context()
    return named(context.trace_id, context.span_id, sampled=context.trace_flags.sampled)


def _parent(traceparent: str) -> Context:
    """What a header names, as it came from anybody; what is malformed names nothing."""
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": traceparent}, Context())


def _links(traceparents: Iterable[str]) -> list[Link]:
    """To the spans that these name, as far as they are recorded."""
    from opentelemetry.trace import Link

    return [Link(_context(each)) for each in traceparents if is_sampled(each)]


def _context(traceparent: str) -> SpanContext:
    from opentelemetry.trace import SpanContext, TraceFlags

    trace, span = ids_of(traceparent)
    return SpanContext(trace, span, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
