"""What the gateway counts; names start with `modelmora_`, times are seconds."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from modelmora.telemetry.health import HealthCollector, Verdict

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """The gateway's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "modelmora_gateway_requests",
            "Requests answered, by door and code (`completed` or an error's)",
            ("door", "code"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "modelmora_gateway_request_seconds",
            "From the door to the answer",
            ("door",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.accepted = Histogram(
            "modelmora_gateway_accepted_seconds",
            "From produce to the node's `accepted`",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.waiting = Gauge(
            "modelmora_gateway_waiting", "Requests waiting for an outcome", registry=self.registry
        )
        self.held = Gauge(
            "modelmora_gateway_held_bytes",
            "Bytes of content being read or not yet acknowledged",
            registry=self.registry,
        )
        self.broker_up = Gauge(
            "modelmora_gateway_broker_up",
            "1 while the broker answers and acknowledges",
            registry=self.registry,
        )
        # labels() looks up under a lock; these are asked for on every request.
        self._by_code: dict[tuple[str, str], Counter] = {}
        self._by_door: dict[str, Histogram] = {}

    def judged(self, look: Callable[[], Verdict]) -> None:
        """Tell how the gateway is."""
        self.registry.register(HealthCollector(look))

    def answered(self, door: str, code: str, seconds: float) -> None:
        """One request has been answered."""
        counter = self._by_code.get((door, code))
        if counter is None:
            counter = self._by_code[door, code] = self._requests.labels(door, code)
            self._by_door.setdefault(door, self._seconds.labels(door))
        counter.inc()
        self._by_door[door].observe(seconds)

    def refused(self, door: str, code: str) -> None:
        """One request was turned away at the door, before the hall."""
        self.answered(door, code, 0.0)

    def text(self) -> bytes:
        """Prometheus text format."""
        return generate_latest(self.registry)
