"""A child that the node loses sight of is reported as gone, so that nothing waits for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from modelmora.workers import ExitReason, ExitReport
from modelmora.workers import supervisor as room
from modelmora.workers.supervisor import Supervisor


class Events:
    """Notes the ends it hears of."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[ExitReport] = asyncio.get_running_loop().create_future()

    def on_exited(self, replica: int, report: ExitReport) -> None:
        assert replica == 1
        self.ended.set_result(report)


class Unwatchable:
    """A child for which no file descriptor is left."""

    def __init__(self, replica: int, *_: object) -> None:
        self.replica = replica
        self.pid = None

    async def live(self) -> ExitReport:
        raise OSError(24, "Too many open files")


async def test_it_counts_as_crashed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "ChildProcess", Unwatchable)
    events: Any = Events()
    workers: Any = Supervisor(events)
    workers._around = None
    workers.load(1, None)
    report = await asyncio.wait_for(events.ended, 30)
    assert report.reason is ExitReason.CRASHED
    assert workers.pids == {}
