"""Cancels at the service: before, beside and after their requests."""

from __future__ import annotations

import pytest

from modelmora.errors import Code, RequestError
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


async def test_a_cancel_is_for_what_was_asked_before_it(hall: Hall) -> None:
    hall.service.cancel("r1", Cancel(UNIX_MS - 1))
    hall.service.accept(incoming("r1"))
    assert hall.told == [], "it was asked again"
    hall.service.cancel("r1", Cancel(UNIX_MS))
    assert hall.told == [("failed", "r1", "cancelled")]


@pytest.mark.parametrize(
    ("cancel", "hits"),
    [
        (Cancel(UNIX_MS, "alice", "g1"), True),
        (Cancel(UNIX_MS, "alice"), True),
        (Cancel(UNIX_MS, "alice", "g2"), False),
        (Cancel(UNIX_MS, "bob", "g1"), False),
        (Cancel(UNIX_MS, "bob"), False),
    ],
)
@pytest.mark.parametrize("first", [True, False])
async def test_a_cancel_is_for_those_of_who_gave_it(
    hall: Hall, cancel: Cancel, hits: bool, first: bool
) -> None:
    request = incoming("r1")
    request.principal, request.gateway = "alice", "g1"
    if first:
        hall.service.cancel("r1", cancel)
        hall.service.cancel("r1", Cancel(UNIX_MS + 1, "carol", "g3"))
    hall.service.accept(request)
    if not first:
        hall.service.cancel("r1", cancel)
    assert bool(hall.told) == hits


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
    assert hall.service.listener.late_results == 1


async def test_both_records_of_one_id_are_cancelled(hall: Hall) -> None:
    for offset in range(2):
        hall.service.accept(incoming("r1", record=FakeRecord(offset=offset)))
    hall.service.cancel("r1")
    assert hall.told == [("failed", "r1", "cancelled")] * 2


@pytest.mark.no_cover
async def test_only_so_many_cancels_are_remembered(hall: Hall) -> None:
    for number in range(100_001):
        hall.service.cancel(f"r{number}")
    hall.service.accept(incoming("r0"))
    hall.service.accept(incoming("r100000"))
    assert hall.told == [("failed", "r100000", "cancelled")]


async def test_what_expires_while_it_runs_ends_once_and_its_result_is_counted_as_late(
    hall: Hall,
) -> None:
    hall.service.accept(incoming("r1", timeout_ms=1000))
    hall.workers.loaded()
    hall.time.now += 1
    hall.workers.answer()
    hall.workers.answer()
    assert hall.told == [("failed", "r1", "expired")]
    assert hall.service.listener.late_results == 2, "also of a group that is done"


async def test_inputs_that_are_fetched_can_be_waited_for_no_longer(hall: Hall) -> None:
    requests = [incoming(f"r{number}", timeout_ms=number * 1000) for number in range(1, 4)]
    assert all(hall.service.awaits(request) for request in requests)
    hall.service.arm()
    hall.service.cancel("r2")
    assert hall.told == [("failed", "r2", "cancelled")]
    hall.time.now += 1
    hall.service.tick()
    assert hall.told[1:] == [("failed", "r1", "expired")]
    assert [request.ended for request in requests] == [True, True, False]
    for request in requests:
        hall.service.accept(request)
    hall.service.refuse(requests[1], RequestError(Code.INVALID_INPUT, "gone"))
    assert len(hall.told) == 2, "whatever comes of their inputs"
    hall.workers.loaded()
    hall.workers.answer()
    assert hall.told[2:] == [("completed", "r3", "")]


@pytest.mark.parametrize("timeout_ms", [0, -1, 1])
async def test_what_has_ended_is_not_fetched(hall: Hall, timeout_ms: int) -> None:
    hall.time.now += 1
    assert not hall.service.awaits(incoming("r1", timeout_ms=timeout_ms))
    hall.service.cancel("r2")
    assert not hall.service.awaits(incoming("r2"))
    code = "expired" if timeout_ms > 0 else "invalid_input"
    assert hall.told == [("failed", "r1", code), ("failed", "r2", "cancelled")]


async def test_what_goes_to_another_node_while_it_is_fetched_has_no_outcome_here(
    hall: Hall,
) -> None:
    request = incoming("r1", timeout_ms=1000)
    assert hall.service.awaits(request)
    hall.service.drop({("modelmora.requests.normal", 0)}, started=True)
    hall.service.cancel("r1")
    hall.time.now += 1
    hall.service.tick()
    assert hall.told == []


async def test_what_a_stopping_node_cannot_finish_is_answered_where_nobody_else_can(
    hall: Hall,
) -> None:
    for name in ("echo", "sleep"):
        hall.service.accept(incoming(f"{name}-runs", name))
        hall.workers.loaded()
        hall.service.accept(incoming(f"{name}-is-prepared", name))
        group = next(each for each in hall.workers.groups if each.model[0] == name)
        hall.service.listener.on_started(group.replica, group.id)
    hall.service.stop(lambda model: model == "echo@1")
    assert hall.told == [("failed", "sleep-runs", "stopped")]
    hall.workers.answer(2)
    assert len(hall.told) == 1
    assert hall.service.listener.late_results == 1


async def test_what_waits_or_loads_when_its_node_stops_is_left_to_whoever_reads_it(
    hall: Hall,
) -> None:
    hall.service.accept(incoming("loads"))
    assert hall.service.awaits(incoming("fetches"))
    hall.service.drop({("modelmora.requests.normal", 0)}, started=False)
    hall.service.stop(lambda _: False)
    hall.workers.loaded()
    assert hall.told == []
    assert hall.workers.groups == []
