"""Spans that are kept here, and sent nowhere."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from modelmora.telemetry.provider import provider_of
from modelmora.telemetry.spans import Spans


class Kept(Spans):
    """Spans, and those that have ended."""

    def __init__(self, share: float = 1.0) -> None:
        provider, self._kept = provider_of(share, "node", "n1"), InMemorySpanExporter()
        provider.add_span_processor(SimpleSpanProcessor(self._kept))
        super().__init__(provider, share)

    @property
    def ended(self) -> Sequence[ReadableSpan]:
        """In the order in which they have ended."""
        return self._kept.get_finished_spans()
