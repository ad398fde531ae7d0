"""Fixtures that every test may use."""

from __future__ import annotations

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
SHARING = {"tests/integration/doors"}

# Tests compute beside each other: threads that spin while they wait take the cores from those that
# work. Before OpenMP is loaded, and for what tests start.
os.environ["OMP_WAIT_POLICY"] = "passive"
# No test asserts a time.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the fault programme and matrix; they must be here to be known in time."""
    parser.addoption("--seeds", metavar="N,N", help="of the fault programme; default: random ones")
    parser.addoption("--record", metavar="FILE", help="keep there what tests of rows have shown")


class Scheduling(LoadFileScheduling):  # type: ignore[misc]  # xdist is not typed
    """A file goes to one worker, and so do all files of a folder that share a running node."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        folder = file.rpartition("/")[0]
        return folder if folder in SHARING else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    """In place of the one that `--dist` names."""
    return Scheduling(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole processes first, units last: so the workers of `make test` end together."""
    # Of several tests with one name a worker runs one, and says nothing.
    assert len({item.nodeid for item in items}) == len(items), "two tests have one name"
    root = Path(__file__).parent
    items.sort(key=lambda item: item.path.relative_to(root).parts[0])


def pytest_sessionfinish() -> None:
    """Each worker of a parallel run clears up after itself."""
    remove_all()
