"""The embedded broker: a real single-node Apache Kafka without Docker or Java on the host."""

from __future__ import annotations

from modelmora.broker.embedded import EmbeddedBroker
from modelmora.broker.jars import JarsUnavailable, ensure_jars

__all__ = ["EmbeddedBroker", "JarsUnavailable", "ensure_jars"]
