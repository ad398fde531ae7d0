"""Fixtures that every test may use."""

from __future__ import annotations

import pytest

from tests.brokers import broker, killable, mortal, namespace

__all__ = ["broker", "killable", "mortal", "namespace"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """The fault programme's option; it must be here to be known in time."""
    parser.addoption("--seeds", metavar="N,N", help="of the fault programme; default: random ones")
