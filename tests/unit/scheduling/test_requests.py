"""What becomes of one request: refused, late, cancelled, dropped, answered once."""

from __future__ import annotations

import pytest

from modelmora.messages import Lane
from modelmora.scheduling import Cancelled, Need, Policy, Position, State
from tests.unit.scheduling.world import MIB, SIZE, A, B, World, ids, spec


def test_unknown_models_are_refused() -> None:
    world = World()
    work, position = world.submit()
    assert (world.outcome(work), position) == ("unknown_model", None)


def test_a_model_larger_than_the_budget_cannot_be_served() -> None:
    world = World(Policy(budget_bytes=SIZE - MIB))
    world.scheduler.add_model(spec(), world.now)
    work = world.send()
    assert world.outcome(work) == "cannot_be_served"
    assert world.loads == []


def test_a_request_that_is_late_on_arrival_is_refused() -> None:
    world = World()
    world.serve(A)
    work = world.send(timeout=0)
    assert world.outcome(work) == "expired"
    assert world.ran == []


def test_waiting_work_expires_on_time() -> None:
    world = World()
    world.scheduler.add_model(spec(), world.now)
    work = world.send(timeout=5)
    other = world.send(timeout=50)
    world.wait(4.9)
    assert world.outcome(work) is None
    world.wait(0.1)
    assert world.outcome(work) == "expired"
    world.loaded()
    assert world.child().groups[0].works == (other,)


def test_late_work_is_never_started_even_if_no_tick_came() -> None:
    world = World()
    world.scheduler.add_model(spec(), world.now)
    work = world.send(timeout=5)
    world.now += 5
    world.loaded()
    assert world.ran == []
    assert world.outcome(work) == "expired"


def test_running_work_expires_at_once_and_its_late_answer_is_passed_over() -> None:
    world = World()
    world.serve(A)
    work = world.send(timeout=5)
    world.wait(5)
    assert world.outcome(work) == "expired"
    assert world.cancels == [(world.ran[0].id, 0)]
    world.finish()
    assert world.outcome(work) == "expired"


def test_an_answer_that_comes_after_the_deadline_is_too_late() -> None:
    world = World()
    world.serve(A)
    work = world.send(timeout=5)
    world.now += 6
    world.answer()
    assert world.outcome(work) == "expired"


def test_cancel_finds_waiting_and_running_work() -> None:
    world = World(Policy(group_requests=1))
    world.serve(A)
    running, prepared, waiting = (world.send() for _ in range(3))
    cancel = world.scheduler.cancel
    assert cancel(waiting.request_id, world.now) is Cancelled.WAITING
    assert cancel(running.request_id, world.now) is Cancelled.RUNNING
    assert cancel(running.request_id, world.now) is Cancelled.NOT_FOUND
    assert cancel("nobody", world.now) is Cancelled.NOT_FOUND
    assert world.cancels == [(world.ran[0].id, 0)]
    world.finish()
    world.finish()
    assert [world.outcome(work) for work in (running, prepared, waiting)] == [
        "cancelled",
        "answered",
        "cancelled",
    ]


def test_cancel_ends_all_requests_of_one_id() -> None:
    world = World(Policy(group_requests=1))
    world.serve(A)
    for _ in range(4):
        world.send(name="twin")
    assert world.scheduler.cancel("twin", world.now) is Cancelled.RUNNING
    assert world.outcomes == [("twin", "cancelled")] * 4


def test_requests_of_one_id_end_one_by_one() -> None:
    world = World(Policy(group_requests=1))
    world.serve(A)
    for _ in range(3):
        world.send(name="twin")
    world.finish()
    assert world.scheduler.cancel("twin", world.now) is Cancelled.RUNNING
    assert [end for _, end in world.outcomes] == ["answered", "cancelled", "cancelled"]


def test_cancelled_work_in_the_middle_leaves_the_others_in_order() -> None:
    world = World()
    world.scheduler.add_model(spec(), world.now)
    works = [world.send() for _ in range(6)]
    for index in (0, 3):
        world.scheduler.cancel(works[index].request_id, world.now)
    world.loaded()
    assert ids(world.ran[0].works) == ["r2", "r3", "r5", "r6"]


def test_dropped_partitions_leave_without_a_word() -> None:
    world = World(Policy(group_requests=2))
    world.serve(A)
    works = [world.send(partition=index % 2) for index in range(6)]
    world.scheduler.drop({1}, world.now)
    for _ in range(3):
        world.finish()
    assert [world.outcome(work) for work in works] == ["answered", None] * 3
    assert world.cancels == [(world.ran[1].id, 0)]


def test_started_work_of_a_partition_can_be_awaited_and_the_rest_dropped() -> None:
    world = World(Policy(group_requests=1))
    world.serve(A)
    works = [world.send(partition="p") for _ in range(4)]
    world.scheduler.drop({"p"}, world.now, started=False)
    assert world.scheduler.open_groups({"p"}) == {group.id for group in world.ran}
    assert world.scheduler.open_groups({"q"}) == frozenset()
    world.finish()
    world.finish()
    assert world.scheduler.open_groups({"p"}) == frozenset()
    assert [world.outcome(work) for work in works] == ["answered", "answered", None, None]


def test_a_dropped_request_does_not_come_back_after_a_crash() -> None:
    world = World()
    world.serve(A)
    world.send(partition="p")
    world.scheduler.drop({"p"}, world.now)
    world.exit()
    assert len(world.loads) == 1
    assert world.outcomes == []


def test_the_estimate_counts_what_is_ahead_and_what_was_measured() -> None:
    world = World(Policy(group_requests=1))
    world.serve(A)
    assert world.submit()[1] == Position(0, 0.0), "nothing is ahead, which is known"
    assert world.submit()[1] == Position(1, None), "nobody knows how long the first takes"
    world.finish(run_ms=40)
    world.finish(run_ms=40)
    assert world.submit()[1] == Position(0, 0.0)
    assert world.submit(lane=Lane.LOW)[1] == Position(1, 0.040)
    assert world.submit(lane=Lane.LOW)[1] == Position(2, 0.080)
    assert world.submit(lane=Lane.CRITICAL)[1] == Position(2, 0.080)


def test_timings_tell_waiting_from_loading() -> None:
    world = World()
    world.scheduler.add_model(spec(), world.now)
    early = world.send()
    world.now += 0.35
    late = world.send()
    world.now += 0.05
    world.loaded(load_ms=200.0)
    later = world.send()
    assert [work.load_ms for work in (early, late, later)] == pytest.approx([200.0, 50.0, 0.0])
    world.scheduler.on_started(world.replica(), world.ran[0].id, world.now)
    assert world.begun == ids([early, late])
    assert early.started_at == world.now


def test_late_reports_of_a_dead_child_change_nothing() -> None:
    world = World()
    world.serve(A)
    work = world.send()
    replica, group = world.replica(), world.ran[0]
    world.exit()
    scheduler = world.scheduler
    scheduler.on_started(replica, group.id, world.now)
    scheduler.on_results(replica, group.id, [], world.now)
    scheduler.on_group_done(replica, group.id, 1.0, world.now)
    scheduler.on_memory(replica, Need(1), world.now)
    scheduler.on_loaded(replica, 1.0, Need(0), world.now)
    scheduler.on_load_failed(replica, "late", world.now)
    scheduler.on_exited(replica, world.now)
    assert world.outcome(work) is None
    assert scheduler.status(world.now)[0].health.state is State.LOADING


def test_a_child_cannot_answer_for_another() -> None:
    world = World()
    world.serve(A, B)
    work = world.send(A)
    group = world.ran[0]
    world.scheduler.on_group_done(world.replica(B), group.id, 1.0, world.now)
    assert world.outcome(work) is None


@pytest.mark.no_cover
def test_deadlines_of_ended_requests_do_not_pile_up() -> None:
    world = World(Policy(group_requests=1000))
    world.serve(A)
    world.scheduler.add_model(spec(B), world.now)
    world.send(B, timeout=599)
    for _ in range(6):
        for _ in range(500):
            world.send(timeout=600)
        world.finish()
    assert len(world.scheduler._book._deadlines) < 2200
