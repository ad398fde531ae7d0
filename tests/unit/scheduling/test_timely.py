"""What would end behind its deadline is not begun where others wait for the child's time."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from modelmora.messages import Lane
from modelmora.scheduling import Policy, Work
from modelmora.scheduling.expected import Runs
from modelmora.scheduling.timely import in_time
from tests.unit.scheduling.world import A, World

RUN_MS = 100.0


def works(*deadlines: float | None, shape: str = "s", cost: float = RUN_MS) -> list[Work]:
    return [
        Work(
            f"{number}", A, Lane.NORMAL, (), 1, 0.0, deadline, b"", number, ("t", 0),
            shape=shape, cost=cost, order=number,
        )
        for number, deadline in enumerate(deadlines)
    ]  # fmt: skip


def names(found: Sequence[Work]) -> str:
    return "".join(work.request_id for work in found)


@pytest.mark.parametrize(
    ("deadlines", "begins_s", "begun", "late"),
    [
        ((0.1, 0.3, 0.4), 0.0, "012", ""),
        ((0.09, 0.1), 0.0, "1", "0"),
        ((0.1, 0.2, 0.3), 0.0, "02", "1"),
        ((None, 0.1, None), 0.0, "02", "1"),
        ((0.5, 0.6), 0.4, "1", "0"),
        ((0.05, 0.05), 0.0, "", "01"),
    ],
    ids=["all", "the first", "its place is the next one's", "no deadline", "busy", "none"],
)
def test_each_ends_when_those_before_it_have(
    deadlines: tuple[float | None, ...], begins_s: float, begun: str, late: str
) -> None:
    found = in_time(works(*deadlines), Runs(), 0.0, begins_s)
    assert (names(found[0]), names(found[1])) == (begun, late)


def test_what_was_never_measured_is_begun() -> None:
    begun, late = in_time(works(0.001, 0.001, cost=0.0), Runs(), 0.0)
    assert (len(begun), late) == (2, ())


def test_what_is_expected_is_doubted_after_nine_groups() -> None:
    runs = Runs()
    runs.learn(["s"], RUN_MS)
    found = [names(in_time(works(0.05, 0.05), runs, 0.0)[0]) for _ in range(11)]
    assert found == [""] * 9 + ["0"] * 2
    runs.learn(["s"], RUN_MS)
    assert names(in_time(works(0.05, 0.05), runs, 0.0)[0]) == ""


def test_what_was_taken_from_a_group_says_nothing_of_how_long_the_others_take() -> None:
    world = World(Policy(groups_per_replica=1))
    world.serve(A)
    for _ in range(3):
        gone = world.send()
    world.finish(run_ms=5.0)
    world.scheduler.cancel(gone.request_id, world.now)
    world.finish(run_ms=RUN_MS)
    assert world.send().cost == pytest.approx((5.0 + RUN_MS) / 2)


def served(rate: float, seconds: float = 60.0, timeout_s: float = 3.0) -> float:
    """Answers a second of a child that takes 100 ms for each, with so many asked a second."""
    world = World(Policy(group_requests=32))
    world.serve(A)
    began, asked, row_s = world.now, 0, RUN_MS / 1000

    def pass_on() -> None:
        nonlocal asked
        world.wait(row_s)
        while asked < (world.now - began) * rate:
            world.send(timeout=timeout_s)
            asked += 1

    while world.now < began + seconds:
        if not world.child().groups:
            pass_on()
            continue
        world.begin()
        group, took_ms = world.child().groups[0], 0.0
        for index in range(len(group.works)):
            if (group.id, index) not in world.cancels:
                pass_on()
                took_ms += RUN_MS
                world.answer(indices=[index])
        world.done(run_ms=took_ms)
    return sum(end == "answered" for _, end in world.outcomes) / seconds


@pytest.mark.parametrize("rate", [9.0, 12.0, 100.0])
def test_a_child_that_is_asked_too_much_does_as_much_as_it_can(rate: float) -> None:
    assert served(rate) >= 0.9 * min(rate, 1000 / RUN_MS)
