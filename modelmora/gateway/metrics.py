"""What the gateway counts; names start with `modelmora_`, times are seconds."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Histogram

from modelmora.messages.traceparent import is_sampled, trace_id_of
from modelmora.telemetry.health import HealthCollector, Verdict
from modelmora.telemetry.metrics import counter, gauge, histogram


class Metrics:
    """The gateway's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = counter("modelmora_gateway_requests_total", self.registry)
        self._seconds = histogram("modelmora_gateway_request_seconds", self.registry)
        self.accepted = histogram("modelmora_gateway_accepted_seconds", self.registry)
        self.waiting = gauge("modelmora_gateway_waiting", self.registry)
        self.held = gauge("modelmora_gateway_held_bytes", self.registry)
        self.probe_age = gauge("modelmora_gateway_probe_age_seconds", self.registry)
        self.probe_seconds = gauge("modelmora_gateway_probe_seconds", self.registry)
        self.broker_up = gauge("modelmora_gateway_broker_up", self.registry)
        # labels() looks up under a lock; these are asked for on every request.
        self._by_code: dict[tuple[str, str], Counter] = {}
        self._by_door: dict[str, Histogram] = {}

    def judged(self, look: Callable[[], Verdict]) -> None:
        """Tell how the gateway is."""
        self.registry.register(HealthCollector(look))

    def answered(self, door: str, code: str, seconds: float, traceparent: str = "") -> None:
        """One request has been answered."""
        counter = self._by_code.get((door, code))
        if counter is None:
            counter = self._by_code[door, code] = self._requests.labels(door, code)
            self._by_door.setdefault(door, self._seconds.labels(door))
        counter.inc()
        exemplar = {"trace_id": trace_id_of(traceparent)} if is_sampled(traceparent) else None
        self._by_door[door].observe(seconds, exemplar)

    def refused(self, door: str, code: str) -> None:
        """One request was turned away at the door, before the hall."""
        self.answered(door, code, 0.0)
