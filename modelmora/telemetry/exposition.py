"""Metrics as whoever scrapes them wants them: Prometheus' text, or OpenMetrics with exemplars."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder


def exposed(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """What is told to who sends this `Accept`, and its media type."""
    encode, media_type = choose_encoder(accept)
    return encode(registry), media_type
