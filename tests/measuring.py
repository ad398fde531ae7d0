"""Where coverage is measured, which doubles the CPU time of what is traced: where it tells more."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

NODES = (
    "audit_delivery", "descriptors", "exactly_once", "handing_on", "host", "hostile_records",
    "kafka_credentials", "node_budgets", "node_start", "nodes", "poison", "putting_off", "replies",
    "routed", "same_id", "secrets", "several_nodes", "shutdown", "signed", "takeover",
)  # fmt: skip
"""Of `tests/integration`: nodes of their own, which are started, killed and started again. Half of
their CPU time was tracing, most of it of imports."""
ELSEWHERE = (
    "tests/faults/", "tests/protocol/", "tests/test_", "tests/acceptance/test_honest.py",
    "tests/integration/gateway/test_process.py",
    *(f"tests/integration/test_{name}.py" for name in NODES),
)  # fmt: skip
"""What these run is measured behind other tests. What they alone run is told as not covered, which
is the stricter side."""
ALONE = tuple(
    f"tests/integration/test_{name}.py" for name in ("acls", "canaries", "life", "shadows")
)
"""Of these the process of the test is measured, and no other: they run commands of ours in it."""
CHILDREN = "COVERAGE_PROCESS_CONFIG"
"""By this variable the processes that a test starts are measured too."""


class Measuring:
    """Pauses the coverage of this process, and of those that it starts, where it tells nothing."""

    def __init__(self, config: pytest.Config) -> None:
        self._plugin = config.pluginmanager.get_plugin("_cov")
        self._children = os.environ.get(CHILDREN)
        self._first = getattr(config, "workerinput", {}).get("workerid", "gw0") == "gw0"

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection(self) -> Generator[None, object, object]:
        """All workers of a run import the same: one tells of it."""
        self._turn(self._first, self._first)
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Of a test with all its fixtures; `no_cover` marks units that go over the same lines."""
        on = not item.nodeid.startswith(ELSEWHERE) and not item.get_closest_marker("no_cover")
        self._turn(on, on and not item.nodeid.startswith(ALONE))
        return (yield)

    def _turn(self, on: bool, children: bool) -> None:
        if children and self._children:
            os.environ[CHILDREN] = self._children
        else:
            os.environ.pop(CHILDREN, None)
        controller = getattr(self._plugin, "cov_controller", None)
        if controller and controller.started != on:
            controller.resume() if on else controller.pause()
