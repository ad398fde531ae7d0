"""Health and metrics of one node, over HTTP; ready means that a request would be served now."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from html import escape
from itertools import accumulate
from typing import Any

import orjson
from prometheus_client import CollectorRegistry, Gauge, Metric, generate_latest
from prometheus_client import Counter as CounterOf
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from modelmora.access.certificates import Certificates
from modelmora.messages import Status, Timings
from modelmora.settings import Settings
from modelmora.telemetry.health import HealthCollector, Verdict
from modelmora.text import counted
from modelmora.web.look import code, page, status_line, table
from modelmora.web.problems import install
from modelmora.web.server import HttpServer
from modelmora.web.surface import Surface

# Bucket bounds in seconds, as OpenTelemetry's generative-AI conventions have them.
BUCKETS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
Look = Callable[[], Verdict]
Facts = Callable[[], Mapping[str, Any]]
"""`waiting_for`: what it needs to become ready; `partitions`: how many lane partitions it has;
`serves`: which models; `failed`: why others cannot be loaded; `unreadable`: what hides models."""
ModelRows = Callable[[], list[dict[str, Any]]]


@dataclass(slots=True)
class Tally:
    """A histogram of one model: cumulative only when it is read, so that counting is cheap."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one value."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bounds with cumulative counts, as Prometheus has them."""
        bounds = [*(str(bound) for bound in BUCKETS), "+Inf"]
        return list(zip(bounds, accumulate(map(float, self.counts)), strict=True))


class NodeMetrics(Collector):
    """What a node counts; a model's label is bounded by what is served.

    Outcomes are counted here and not in the client library's own types: their locks would cost
    an eighth of the node's time per request, and all of this happens on one thread.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._outcomes: Counter[tuple[str, str]] = Counter()
        self._total: defaultdict[str, Tally] = defaultdict(Tally)
        self._inference: defaultdict[str, Tally] = defaultdict(Tally)
        self._odd = CounterOf(
            "modelmora_odd_commits",
            "Commits that did not fit the log.",
            ("what",),
            registry=self.registry,
        )
        self._unread = CounterOf(
            "modelmora_records_deleted_unread",
            "Offsets that retention passed before us.",
            registry=self.registry,
        )
        self._no_reply = CounterOf(
            "modelmora_replies_not_written",
            "Outcomes that stand on results, but not on the reply topic asked for.",
            ("why",),
            registry=self.registry,
        )
        self._copies = CounterOf(
            "modelmora_copies",
            "Copies of requests, by what became of them.",
            ("how",),
            registry=self.registry,
        )
        self.registry.register(self)

    def odd(self, what: str, unread: int) -> None:
        """A commit did not fit the log; so many offsets were deleted before anybody read them."""
        self._odd.labels(what).inc()
        self._unread.inc(unread)

    def no_reply(self, why: str) -> None:
        """An outcome was not written to its reply topic."""
        self._no_reply.labels(why).inc()

    def copied(self, how: str) -> None:
        """A copy of a request has ended: it was no request of anybody's."""
        self._copies.labels(how).inc()

    def outcome(self, status: Status, model: str, timings: Timings) -> None:
        """A request has ended; `model` is "" unless it is served here."""
        self._outcomes[model, status.value] += 1
        self._total[model].add(timings.total_ms / 1000)
        if status is Status.COMPLETED:
            self._inference[model].add(timings.inference_ms / 1000)

    def collect(self) -> Iterator[Metric]:
        """The outcomes and times as Prometheus reads them."""
        outcomes = CounterMetricFamily(
            "modelmora_outcomes", "Requests ended.", labels=("model", "status")
        )
        for labels, value in self._outcomes.items():
            outcomes.add_metric(labels, value)
        yield outcomes
        for name, text, tallies in (
            (
                "modelmora_request_duration_seconds",
                "From the request's append to its outcome.",
                self._total,
            ),
            (
                "modelmora_inference_duration_seconds",
                "Time a request's batches ran in its worker.",
                self._inference,
            ),
        ):
            family = HistogramMetricFamily(name, text, labels=("model",))
            for model, tally in tallies.items():
                family.add_metric((model,), tally.buckets(), tally.total)
            yield family

    def judged(self, look: Look) -> None:
        """Tell how the node is."""
        self.registry.register(HealthCollector(look))

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A value that is read when it is asked for."""
        Gauge(name, text, registry=self.registry).set_function(value)


def health_app(look: Look, facts: Facts, models: ModelRows, metrics: NodeMetrics) -> Starlette:
    """`/`, `/health`, `/health/live`, `/health/ready`, `/health/models`, `/metrics`."""

    def answer(content: Any, ok: bool = True) -> Response:
        body = orjson.dumps(content)
        return Response(body, 200 if ok else 503, media_type="application/json")

    async def live(_: Request) -> Response:
        return answer({"status": "live"})

    def standing() -> tuple[bool, dict[str, Any]]:
        verdict, told = look(), facts()
        ok = verdict.ready
        status = ("ready" if told["partitions"] else "standby") if ok else "not ready"
        found = asdict(verdict)
        del found["faults"]  # which `why` has
        return ok, {"status": status, **found, **told}

    async def landing(_: Request) -> Response:
        return _landing(standing()[1], models())

    async def ready(_: Request) -> Response:
        ok, told = standing()
        return answer(told, ok)

    async def rows(_: Request) -> Response:
        return answer(models())

    async def scrape(_: Request) -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    routes = [
        Route("/", landing),
        Route("/health", ready),
        Route("/health/live", live),
        Route("/health/ready", ready),
        Route("/health/models", rows),
        Route("/metrics", scrape),
    ]
    app = Starlette(routes=routes, middleware=[Middleware(Surface, routes=routes)])
    install(app)
    return app


def health_server(app: Starlette, settings: Settings) -> HttpServer:
    """Where it is served, with TLS where these settings name a certificate."""
    own = Certificates.of(settings)
    tls = own.context() if own else None
    return HttpServer(app, settings.host, settings.node_http_port, tls)


def _landing(told: Mapping[str, Any], models: list[dict[str, Any]]) -> Response:
    faults = [f"{check}: {why}" for check, why in told["why"].items()]
    faults += [f"{check} (not needed by all): {why}" for check, why in told["degraded"].items()]
    if told["waiting_for"]:
        faults.append(f"waiting for {told['waiting_for']}")
    rows = [
        (code(each["name"]), escape(each["version"]), escape(each["state"]), str(each["waiting"]))
        for each in models
    ]
    there = table(("name", "version", "state", "waiting"), rows)
    body = (
        "<h1>A node: it reads requests and writes outcomes</h1>"
        f"<p>It reads {counted(told['partitions'], 'partition')} of the lanes.</p>"
        f"{status_line(told['status'], faults)}<h2>Models</h2>"
        f"{there if rows else '<p class=soft>It serves none.</p>'}"
        '<p class="soft">Requests come over Kafka, or through a gateway; not to this port.</p>'
    )
    links = {"Health": "/health", "Models": "/health/models", "Metrics": "/metrics"}
    return page("ModelMora node", body, links)
