"""Principals that share one model do as they like; rules written plainly say whose turn it is."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modelmora.messages import Lane
from modelmora.scheduling import Need, Policy, Scheduler, Work
from tests.unit.scheduling.referee import Referee
from tests.unit.scheduling.world import A, Answer, spec

POLICY = Policy(group_requests=4, group_bytes=100, groups_per_replica=1, keep_alive_s=-1)
SEND = st.tuples(
    st.just("send"),
    st.sampled_from("pqrs"),
    st.integers(0, 2),
    st.integers(1, 3),
    st.integers(1, 60),
    st.integers(1, 6),
)
FINISH = st.tuples(st.just("finish"), st.sampled_from([1.0, 7.0, 60.0, 61.0]))
LEAVE = st.tuples(st.sampled_from(["cancel", "expire", "exit"]), st.integers(0, 99))
ONE_TAKEN_WOULD_BE_LATE: list[tuple[object, ...]] = [
    ("send", "p", 0, 1, 1, 10),
    ("finish", 60.0),
    ("send", "p", 0, 1, 1, 1),
    ("send", "p", 2, 1, 1, 5),
    ("finish", 1.0),
    ("finish", 1.0),
    ("expire", 0),
    ("expire", 0),
]


class Play:
    """One loaded model, and a referee that checks each group."""

    def __init__(self) -> None:
        self.referee = Referee(POLICY)
        self.scheduler = Scheduler(self.referee, POLICY)
        self.scheduler.add_model(spec(A), 0.0)
        self.scheduler.load(A, 0.0)
        self.sent: list[Work] = []
        self.loaded()

    def loaded(self) -> None:
        self.replica = max(self.referee.children)
        self.child = self.referee.children[self.replica]
        self.child.ready = True
        self.scheduler.on_loaded(self.replica, 1.0, Need(0), self.referee.now)

    def send(self, principal: str, batch: int, shape: int, size: int, times: int) -> None:
        for _ in range(times):
            number, now = len(self.sent), self.referee.now
            deadline = now + 1 if number % 7 == 0 else None
            work = Work(str(number), A, Lane.LOW, batch, size, now, deadline, b"", number, 0)
            work.principal, work.shape = principal, shape
            self.sent.append(work)
            self.referee.submit(work)
            self.scheduler.submit(work, now)

    def finish(self, run_ms: float) -> None:
        if not self.child.groups:
            return
        group = self.child.groups.pop(min(self.child.groups))
        now = self.referee.now
        answers = [Answer(index) for index in range(len(group.works))]
        self.scheduler.on_results(self.replica, group.id, answers, now)
        self.referee.settle(group, run_ms)
        self.scheduler.on_group_done(self.replica, group.id, run_ms, now)

    def cancel(self, pick: int) -> None:
        if self.sent:
            self.scheduler.cancel(
                self.sent[-1 - pick % len(self.sent)].request_id, self.referee.now
            )

    def expire(self, _: int) -> None:
        self.referee.now += 0.4
        self.scheduler.tick(self.referee.now)

    def exit(self, pick: int) -> None:
        if pick < 15:
            self.referee.exit(self.replica)
            self.scheduler.on_exited(self.replica, self.referee.now)
            if self.referee.children:
                self.loaded()
            else:
                self.scheduler.load(A, self.referee.now)
                self.loaded()


@pytest.mark.no_cover
@settings(max_examples=150)
@given(st.lists(SEND | SEND | FINISH | FINISH | FINISH | LEAVE, min_size=10, max_size=80))
@example(ONE_TAKEN_WOULD_BE_LATE)
def test_each_group_is_whose_turn_it_is(story: list[tuple[object, ...]]) -> None:
    play = Play()
    for name, *arguments in story:
        getattr(play, str(name))(*arguments)
    for _ in range(2000):
        if len(play.referee.ends) == len(play.sent):
            break
        play.finish(10.0)
    assert len(play.referee.ends) == len(play.sent)
