"""Where spans are made: which are recorded, and with which ids. Imports OpenTelemetry's SDK."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

from modelmora.telemetry.spans import chosen_ids


def provider_of(share: float, part: str, instance: str) -> TracerProvider:
    """That of one process, which records such a share of the traces that begin there."""
    return TracerProvider(
        sampler=ParentBased(_Begun(share)),
        resource=Resource.create(
            {"service.name": f"modelmora-{part}", "service.instance.id": instance}
        ),
        id_generator=_Ids(),
        shutdown_on_exit=False,
    )


class _Ids(RandomIdGenerator):
    """What is told of before it is there keeps the ids that it was told with."""

    def generate_trace_id(self) -> int:
        return chosen_ids()[0] or super().generate_trace_id()

    def generate_span_id(self) -> int:
        return chosen_ids()[1] or super().generate_span_id()


class _Begun(Sampler):
    """Of traces that begin here a share, and each that is linked with one that is recorded."""

    def __init__(self, share: float) -> None:
        self._share = TraceIdRatioBased(share)

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        if links and any(link.context.trace_flags.sampled for link in links):
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes)
        return self._share.should_sample(parent_context, trace_id, name, kind, attributes, links)

    def get_description(self) -> str:
        return f"begun here, or linked: {self._share.get_description()}"
