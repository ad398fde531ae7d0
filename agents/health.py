"""Health and metrics of one node, over HTTP; ready means that a request would be served now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from modelmora.messages import Status, Timings

# Bucket bounds in seconds, as OpenTelemetry's generative-AI conventions have them.
BUCKETS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
Checks = Callable[[], Mapping[str, bool]]
ModelRows = Callable[[], list[dict[str, Any]]]


class NodeMetrics:
    """What a node counts; a model's label is bounded by what is served."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._by_label: dict[tuple[Status, str], tuple[Counter, Histogram, Histogram]] = {}
        self._outcomes = Counter(
            "modelmora_outcomes",
            "Requests ended, by model and status.",
            ("model", "status"),
            registry=self.registry,
        )
        self._total = Histogram(
            "modelmora_request_duration_seconds",
            "From the request's append to its outcome.",
            ("model",),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._inference = Histogram(
            "modelmora_inference_duration_seconds",
            "Time a request's batches ran in its worker.",
            ("model",),
            buckets=BUCKETS,
            registry=self.registry,
        )

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A value that is read when it is asked for."""
        Gauge(name, text, registry=self.registry).set_function(value)

    def outcome(self, status: Status, model: str, timings: Timings) -> None:
        """A request has ended; `model` is "" unless it is served here."""
        ended, total, inference = self._of(status, model)
        ended.inc()
        total.observe(timings.total_ms / 1000)
        if status is Status.COMPLETED:
            inference.observe(timings.inference_ms / 1000)

    def _of(self, status: Status, model: str) -> tuple[Counter, Histogram, Histogram]:
        # Looking labels up costs more than counting; this is once per request.
        found = self._by_label.get((status, model))
        if found is None:
            found = self._by_label[status, model] = (
                self._outcomes.labels(model, status.value),
                self._total.labels(model),
                self._inference.labels(model),
            )
        return found


def health_app(checks: Checks, models: ModelRows, metrics: NodeMetrics) -> Starlette:
    """`/health`, `/health/live`, `/health/ready`, `/health/models`, `/metrics`."""

    def answer(content: Any, ok: bool = True) -> Response:
        body = orjson.dumps(content)
        return Response(body, 200 if ok else 503, media_type="application/json")

    async def live(_: Request) -> Response:
        return answer({"status": "live"})

    async def ready(_: Request) -> Response:
        found = dict(checks())
        ok = all(found.values())
        return answer({"status": "ready" if ok else "not ready", "checks": found}, ok)

    async def rows(_: Request) -> Response:
        return answer(models())

    async def scrape(_: Request) -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return Starlette(
        routes=[
            Route("/health", ready),
            Route("/health/live", live),
            Route("/health/ready", ready),
            Route("/health/models", rows),
            Route("/metrics", scrape),
        ]
    )
