"""Histograms that say which trace is an example of a bucket."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as plain_families

from modelmora.gateway.metrics import Metrics
from modelmora.messages import ResultHead, Source, Status, Timings
from modelmora.node.metrics import NodeMetrics
from modelmora.telemetry.exposition import exposed

TRACE = "a" * 32
SAMPLED, UNSAMPLED = (f"00-{TRACE}-{'b' * 16}-{flags}" for flags in ("01", "00"))
OPEN = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


def exemplars(registry: CollectorRegistry) -> Iterator[tuple[str, str, str, float]]:
    text, media_type = exposed(registry, OPEN)
    assert media_type.startswith("application/openmetrics-text")
    for family in text_string_to_metric_families(text.decode()):  # type: ignore[no-untyped-call]
        for sample in family.samples:
            if sample.exemplar:
                trace = sample.exemplar.labels["trace_id"]
                yield sample.name, sample.labels["le"], trace, sample.exemplar.value


def node(traceparent: str) -> CollectorRegistry:
    metrics = NodeMetrics()
    spent = Timings(queue_ms=15, load_ms=0, inference_ms=30, total_ms=45)
    head = ResultHead("r", Status.COMPLETED, "m", "1", Source("t", 0, 0), {}, timings=spent)
    metrics.outcome(head, "m", traceparent)
    return metrics.registry


def gateway(traceparent: str) -> CollectorRegistry:
    metrics = Metrics()
    metrics.answered("rest", "completed", 0.03, traceparent)
    return metrics.registry


def test_times_of_a_node_name_the_trace_of_a_request() -> None:
    assert list(exemplars(node(SAMPLED))) == [
        ("modelmora_request_duration_seconds_bucket", "0.08", TRACE, 0.045),
        ("modelmora_queue_duration_seconds_bucket", "0.02", TRACE, 0.015),
        ("modelmora_inference_duration_seconds_bucket", "0.04", TRACE, 0.03),
    ]


def test_times_of_a_gateway_name_the_trace_of_a_request() -> None:
    told = [("modelmora_gateway_request_seconds_bucket", "0.05", TRACE, 0.03)]
    assert list(exemplars(gateway(SAMPLED))) == told


@pytest.mark.parametrize("made", [node, gateway])
@pytest.mark.parametrize("traceparent", [UNSAMPLED, "", "nonsense\n", "x" * 256])
def test_a_trace_that_is_not_recorded_is_no_example(made: object, traceparent: str) -> None:
    assert callable(made)
    assert not list(exemplars(made(traceparent)))


@pytest.mark.parametrize("made", [node, gateway])
@pytest.mark.parametrize("accept", ["", "*/*", "text/plain", "\x00;q=x,,"])
def test_who_does_not_ask_for_openmetrics_gets_text_without_them(made: object, accept: str) -> None:
    assert callable(made)
    text, media_type = exposed(made(SAMPLED), accept)
    assert media_type.startswith("text/plain; version=0.0.4")
    assert list(plain_families(text.decode()))
    assert TRACE.encode() not in text
