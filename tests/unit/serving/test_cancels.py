"""Cancels at the service: before, beside and after their requests."""

from __future__ import annotations

from modelmora.serving import Cancel
from modelmora.testing.fakes import UNIX_MS, FakeRecord, incoming
from tests.unit.serving.rig import Hall


async def test_a_cancel_may_come_before_its_request(hall: Hall) -> None:
    hall.service.cancel("r1")
    hall.service.accept(incoming("r1"))
    hall.service.accept(incoming("r2"))
    assert hall.told == [("failed", "r1", "cancelled")]


async def test_a_cancel_of_before_a_replay_is_not_for_it(hall: Hall) -> None:
    hall.service.cancel("r1", Cancel(UNIX_MS - 1))
    hall.service.cancel("r2", Cancel(UNIX_MS))
    for request_id in ("r1", "r2"):
        request = incoming(request_id)
        request.run = 2
        hall.service.accept(request)
    assert hall.told == [("failed", "r2", "cancelled")]


async def test_a_cancel_ends_what_waits_and_what_runs(hall: Hall) -> None:
    hall.service.accept(incoming("r1"))
    hall.service.cancel("r1")
    assert hall.told == [("failed", "r1", "cancelled")]
    hall.service.accept(incoming("r2"))
    hall.workers.loaded()
    hall.service.cancel("r2")
    (group,) = hall.workers.groups
    assert hall.told[1:] == [("failed", "r2", "cancelled")]
    assert hall.workers.cancels == [(group.id, 0)]
    hall.workers.answer()
    assert len(hall.told) == 2, "its answer comes too late"


async def test_both_records_of_one_id_are_cancelled(hall: Hall) -> None:
    for offset in range(2):
        hall.service.accept(incoming("r1", record=FakeRecord(offset=offset)))
    hall.service.cancel("r1")
    assert hall.told == [("failed", "r1", "cancelled")] * 2


async def test_only_so_many_cancels_are_remembered(hall: Hall) -> None:
    for number in range(100_001):
        hall.service.cancel(f"r{number}")
    hall.service.accept(incoming("r0"))
    hall.service.accept(incoming("r100000"))
    assert hall.told == [("failed", "r100000", "cancelled")]
