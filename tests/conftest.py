"""Fixtures that every test may use."""

from __future__ import annotations

from tests.brokers import broker, namespace

__all__ = ["broker", "namespace"]
