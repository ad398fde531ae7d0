"""Fixtures that every test may use."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadFileScheduling

from tests.brokers import broker, killable, mortal, namespace
from tests.faults.recording import (
    figures,
    pytest_configure,
    pytest_itemcollected,
    pytest_runtest_makereport,
)
from tests.folders import remove_all
from tests.measuring import Measuring

__all__ = [
    "broker",
    "figures",
    "killable",
    "mortal",
    "namespace",
    "pytest_configure",
    "pytest_itemcollected",
    "pytest_runtest_makereport",
]
SHARING = {
    "tests/integration/doors/": "a running node",
    "tests/integration/test_batch_engines.py": "model libraries",
    "tests/integration/test_diffusion.py": "model libraries",
    "tests/integration/test_runtimes.py": "model libraries",
    "tests/unit/cli/demo/": "model libraries",
    "tests/unit/engines/": "model libraries",
    "tests/unit/registry/test_exporting.py": "model libraries",
    "tests/unit/workers/test_execution.py": "model libraries",
}
"""Tests that share what is dear to make: once is enough."""

# Tests compute beside each other: threads that spin while they wait take the cores from those that
# work. Before OpenMP is loaded, and for what tests start.
os.environ["OMP_WAIT_POLICY"] = "passive"
# No test asserts a time; half the usual examples find what is found at all, within the time that
# `make test` may take.
hypothesis.settings.register_profile("untimed", deadline=None, max_examples=50)
hypothesis.settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the fault programme and matrix; they must be here to be known in time."""
    parser.addoption("--seeds", metavar="N,N", help="of the fault programme; default: random ones")
    parser.addoption("--record", metavar="FILE", help="keep there what tests of rows have shown")


def shared(nodeid: str) -> str:
    """What a test shares with others; empty where it shares nothing."""
    return next((what for where, what in SHARING.items() if nodeid.startswith(where)), "")


class Scheduling(LoadFileScheduling):  # type: ignore[misc]  # xdist is not typed
    """A file goes to one worker, and so do all files that share something."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return shared(file) or file


class Failures:
    """Tells of a failure when it happens; the whole of it stands at the end of the run."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """In the process that shows how the run goes, of every test."""
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and terminal:
            crash = getattr(report.longrepr, "reprcrash", None)
            why = crash.message.partition("\n")[0] if crash else ""
            terminal.ensure_newline()
            terminal.write_line(f"{report.when} of {report.nodeid} failed: {why}", red=True)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    """In place of the one that `--dist` names; asked for where tests run beside each other."""
    config.pluginmanager.register(Failures(config))
    return Scheduling(config, log)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Of each process that runs tests."""
    session.config.pluginmanager.register(Measuring(session.config))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, then whole processes, units last: so the workers end together."""
    # Of several tests with one name a worker runs one, and says nothing.
    assert len({item.nodeid for item in items}) == len(items), "two tests have one name"
    root = Path(__file__).parent
    items.sort(key=lambda i: (not shared(i.nodeid), i.path.relative_to(root).parts[0]))


def pytest_collection_finish() -> None:
    """Thousands of tests are there to stay: each full collection of garbage would go over them."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Each worker of a parallel run clears up after itself."""
    remove_all()
