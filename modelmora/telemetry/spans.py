"""Spans over OpenTelemetry, which is imported only where they are asked for."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Self

from modelmora.errors import ConfigurationError
from modelmora.messages.headers import NewTrace
from modelmora.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

Facts = Mapping[str, str | int | float]
CLOSE_S = 3.0
_MS = 1_000_000  # ns
_begins: ContextVar[int] = ContextVar("modelmora_begins")


class Spans:
    """Makes the spans of a process, and sends them in a thread of its own.

    Whether a trace is recorded is for who began it: the caller, or a share of those begun here.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
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
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
            from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
        except ImportError:
            raise ConfigurationError(
                "tracing.endpoint needs OpenTelemetry: pip install 'modelmora[otel]'"
            ) from None

        class Ids(RandomIdGenerator):
            """A trace that begins here keeps the id that its caller is told."""

            def generate_trace_id(self) -> int:
                return _begins.get(0) or super().generate_trace_id()

        provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(settings.tracing.share)),
            resource=Resource.create(
                {"service.name": f"modelmora-{part}", "service.instance.id": instance}
            ),
            id_generator=Ids(),
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=5)
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1000))
        return cls(provider)

    def served(self, name: str, traceparent: str, facts: Facts) -> Span:
        """A span of a call that begins now."""
        from opentelemetry.trace import SpanKind

        new = isinstance(traceparent, NewTrace)
        token = _begins.set(int(traceparent[3:35], 16) if new else 0)
        try:
            context = _parent("" if new else traceparent)
            return self._tracer.start_span(name, context, SpanKind.SERVER, dict(facts))
        finally:
            _begins.reset(token)

    def processed(
        self,
        name: str,
        traceparent: str,
        facts: Facts,
        total_ms: float,
        parts: Mapping[str, tuple[float, float]],
        error: str = "",
    ) -> None:
        """A span of a record that took so long until now, and of its parts.

        `parts` are (start, length) in ms from when it was appended.
        """
        from opentelemetry.trace import SpanKind, set_span_in_context

        end = time.time_ns()
        start = end - int(total_ms * _MS)
        kind = SpanKind.CONSUMER
        span = self._tracer.start_span(
            name, _parent(traceparent), kind, dict(facts), start_time=start
        )
        if span.is_recording():
            inside = set_span_in_context(span)
            for part, (since_ms, took_ms) in parts.items():
                began = start + int(since_ms * _MS)
                child = self._tracer.start_span(part, inside, start_time=began)
                child.end(began + int(took_ms * _MS))
        failed(span, error)
        span.end(end)

    def close(self) -> None:
        """Send what is left; blocks for CLOSE_S at most.

        Where the collector does not answer, the SDK goes on trying for half a minute: in a thread
        that ends with the process.
        """
        closing = threading.Thread(target=self._provider.shutdown, name="spans", daemon=True)
        closing.start()
        closing.join(CLOSE_S)


def failed(span: Span, error: str) -> None:
    """Say that it failed so, where it did."""
    from opentelemetry.trace import StatusCode

    from modelmora.telemetry.conventions import ERROR

    if error:
        span.set_attribute(ERROR, error)
        span.set_status(StatusCode.ERROR)


def header_of(span: Span) -> str:
    """The `traceparent` of what the span causes."""
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags) & 1:02x}"


def _parent(traceparent: str) -> Context:
    """What a header names, as it came from anybody; what is malformed names nothing."""
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": traceparent}, Context())
