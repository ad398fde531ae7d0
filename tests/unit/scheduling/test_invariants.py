"""What holds whatever happens, in whatever order: lanes, arrival, budget, one outcome each."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from math import ceil

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from modelmora.errors import ModelMoraError
from modelmora.messages import DeviceKind, Lane
from modelmora.scheduling import (
    Device,
    ModelKey,
    ModelSpec,
    Need,
    Policy,
    Scheduler,
    Work,
)
from tests.unit.scheduling.referee import Child, Referee
from tests.unit.scheduling.world import MIB, SIZE, A, Answer, B, C, spec

GPU = Device("GPU-0", DeviceKind.CUDA, 3 * SIZE + MIB, "cuda:0")
POLICY = Policy(
    cores=4, budget_bytes=2 * SIZE + MIB, gpus=(GPU,), ageing_s=20, group_requests=4,
    group_bytes=100, load_s=60, start_to_close_s=30, cancel_grace_s=5, min_residency_s=2,
    queue_s=3, spare_s=15, returns=3, keep_alive_s=40, strikes=2, quarantine_s=7,
)  # fmt: skip
ON_BOTH = Need(SIZE // 4, SIZE)
D: ModelKey = ("d", "1")
STEPPED: ModelKey = ("stepped", "1")
SPECS = (
    spec(A),
    replace(spec(B), max_replicas=2),
    spec(C, 2 * SIZE, needs_cores=False),
    replace(spec(D), devices=(DeviceKind.CUDA, DeviceKind.CPU), declared=ON_BOTH, max_replicas=3),
    replace(spec(STEPPED, slots=3), max_replicas=2),
)
BIG = spec(("big", "1"), 3 * SIZE)
KEYS = st.sampled_from([A, A, B, B, C, D, D, STEPPED, STEPPED, BIG.key])


class Life(RuleBasedStateMachine):
    """Requests, children and operators do as they like; the referee watches."""

    works = Bundle("works")

    @initialize(wait=st.sampled_from([0.0, 0.0, 1.0]))
    def begin(self, wait: float) -> None:
        numbers = {name: getattr(POLICY, name) for name in POLICY.__slots__}
        policy = Policy(**{**numbers, "group_wait_s": wait})
        self.referee = Referee(policy)
        self.scheduler = Scheduler(self.referee, policy)
        self.sent: list[Work] = []
        for one in (*SPECS, BIG):
            self.scheduler.add_model(one, self.now)

    @property
    def now(self) -> float:
        return self.referee.now

    @rule(
        target=works,
        key=KEYS,
        lane=st.sampled_from(Lane),
        batch=st.integers(0, 1),
        size=st.integers(1, 60),
        timeout=st.none() | st.floats(0, 90),
        twin=st.booleans(),
        partition=st.integers(0, 1),
        keep=st.sampled_from([None, None, 0.0, 4.0, -1.0]),
        principal=st.sampled_from(["", "p", "q", "r"]),
        shape=st.integers(1, 3),
    )
    def submit(
        self,
        key: ModelKey,
        lane: Lane,
        batch: int,
        size: int,
        timeout: float | None,
        twin: bool,
        partition: int,
        keep: float | None,
        principal: str,
        shape: int,
    ) -> Work:
        number = len(self.sent)
        name = self.sent[-1].request_id if twin and self.sent else f"r{number}"
        deadline = None if timeout is None else self.now + timeout
        work = Work(name, key, lane, batch, size, self.now, deadline, b"", number, partition)
        work.keep_alive_s, work.principal, work.shape = keep, principal, shape
        self.sent.append(work)
        self.referee.submit(work)
        admitted = self.scheduler.submit(work, self.now)
        assert admitted or work in self.referee.ends
        return work

    @rule(work=works)
    def cancel(self, work: Work) -> None:
        self.scheduler.cancel(work.request_id, self.now)
        twins = [one for one in self.sent if one.request_id == work.request_id]
        assert all(one in self.referee.ends or one in self.referee.dropped for one in twins)

    @rule(partition=st.integers(0, 1), started=st.booleans())
    def drop(self, partition: int, started: bool) -> None:
        held = {
            work
            for child in self.referee.children.values()
            for group in child.groups.values()
            for work in group.works
        }
        for work in self.sent:
            if work.partition == partition and work not in self.referee.ends:
                late = work.deadline is not None and work.deadline <= self.now
                if not late and (started or work not in held):
                    self.referee.dropped.add(work)
                    self.referee.leave(work)
        self.scheduler.drop({partition}, self.now, started=started)
        if started:
            assert not self.scheduler.open_groups({partition})

    @rule(seconds=st.floats(0, 25), tick=st.booleans())
    def time_passes(self, seconds: float, tick: bool) -> None:
        self.referee.now += seconds
        if tick:
            self.tick()

    def tick(self) -> None:
        self.scheduler.tick(self.now)
        due = self.scheduler.next_wake(self.now)
        assert due is None or due > self.now, "a tick that leaves something due"

    def pick(self, pick: int) -> tuple[int, Child] | None:
        children = list(self.referee.children.items())
        return children[pick % len(children)] if children else None

    @rule(pick=st.integers(0, 9), private=st.sampled_from([0, SIZE // 2, SIZE, SIZE + MIB]))
    def child_loaded(self, pick: int, private: int) -> None:
        if chosen := self.pick(pick):
            replica, child = chosen
            if not child.ready and not child.killed:
                child.ready = True
                self.learn(child, private)
            self.scheduler.on_loaded(replica, 100.0, self.held(child, private), self.now)

    def held(self, child: Child, private: int) -> Need:
        on_gpu = child.device.kind is DeviceKind.CUDA
        return Need(ceil(private / 4), private) if on_gpu else Need(private)

    def learn(self, child: Child, private: int) -> None:
        if private:
            where = child.spec.key, child.device.kind
            known, held = self.referee.measured.get(where, Need(0)), self.held(child, private)
            most = Need(max(known.ram, held.ram), max(known.gpu, held.gpu))
            self.referee.measured[where] = most

    @rule(pick=st.integers(0, 9), private=st.integers(1, 3 * SIZE // 2))
    def child_measured(self, pick: int, private: int) -> None:
        if chosen := self.pick(pick):
            replica, child = chosen
            self.learn(child, private)
            self.scheduler.on_memory(replica, self.held(chosen[1], private), self.now)

    @rule(pick=st.integers(0, 9))
    def load_fails(self, pick: int) -> None:
        if chosen := self.pick(pick):
            self.scheduler.on_load_failed(chosen[0], "no such file", self.now)

    @rule(pick=st.integers(0, 9))
    def child_exits(self, pick: int) -> None:
        if chosen := self.pick(pick):
            self.exit(chosen[0])

    def exit(self, replica: int) -> None:
        self.referee.exit(replica)
        self.scheduler.on_exited(replica, self.now)

    @rule(pick=st.integers(0, 9), which=st.integers(0, 1))
    def child_starts(self, pick: int, which: int) -> None:
        if (chosen := self.pick(pick)) and len(chosen[1].groups) > which:
            self.scheduler.on_started(chosen[0], list(chosen[1].groups)[which], self.now)

    @rule(
        pick=st.integers(0, 9),
        which=st.sampled_from([0, 0, 0, 1]),
        indices=st.lists(st.integers(-1, 5), max_size=6),
    )
    def child_answers(self, pick: int, which: int, indices: list[int]) -> None:
        if (chosen := self.pick(pick)) and len(chosen[1].groups) > which:
            group = list(chosen[1].groups)[which]
            answers = [Answer(index) for index in indices]
            self.scheduler.on_results(chosen[0], group, answers, self.now)

    @rule(pick=st.integers(0, 9), which=st.integers(0, 2), index=st.integers(-1, 5))
    def child_tells(self, pick: int, which: int, index: int) -> None:
        if (chosen := self.pick(pick)) and len(chosen[1].groups) > which:
            group = list(chosen[1].groups)[which]
            self.scheduler.on_chunk(chosen[0], group, Answer(index), self.now)

    @rule(
        pick=st.integers(0, 9),
        which=st.sampled_from([0, 0, 0, 1]),
        honest=st.booleans(),
        run_ms=st.sampled_from([0.0, 7.0, 60.0]),
    )
    def child_is_done(self, pick: int, which: int, honest: bool, run_ms: float) -> None:
        if (chosen := self.pick(pick)) and len(chosen[1].groups) > which:
            self.finish(*chosen, which, honest, run_ms)

    def finish(
        self, replica: int, child: Child, which: int, honest: bool, run_ms: float = 10.0
    ) -> None:
        group = list(child.groups.values())[which]
        if honest:
            answers = [Answer(index) for index in range(len(group.works))]
            self.scheduler.on_results(replica, group.id, answers, self.now)
        del child.groups[group.id]
        self.referee.settle(group, run_ms)
        self.scheduler.on_group_done(replica, group.id, run_ms, self.now)

    @rule(replica=st.integers(0, 30), group=st.integers(0, 60))
    def child_lies(self, replica: int, group: int) -> None:
        child = self.referee.children.get(replica)
        if child is None or group not in child.groups:
            self.scheduler.on_started(replica, group, self.now)
            self.scheduler.on_results(replica, group, [Answer(0)], self.now)
            self.scheduler.on_group_done(replica, group, 1.0, self.now)

    @rule(key=KEYS, verb=st.sampled_from(["load", "unload", "pin", "unpin"]))
    def operate(self, key: ModelKey, verb: str) -> None:
        if verb == "load":
            self.scheduler.load(key, self.now)
        elif verb == "unload":
            with suppress(ModelMoraError):  # it is pinned
                self.scheduler.unload(key, self.now)
        else:
            one = next(one for one in (*SPECS, BIG) if one.key == key)
            self.scheduler.add_model(replace(one, pinned=verb == "pin"), self.now)

    @rule(one=st.sampled_from(SPECS), work=consumes(works))
    def model_is_removed_and_returns(self, one: ModelSpec, work: Work) -> None:
        self.scheduler.remove_model(one.key, self.now)
        if one.key not in [child.spec.key for child in self.referee.children.values()]:
            self.referee.told.pop(one.key, None)
            for kind in DeviceKind:
                self.referee.measured.pop((one.key, kind), None)
            for lane in Lane:
                self.referee.served.pop((one.key, lane), None)
        self.scheduler.add_model(one, self.now)
        self.scheduler.cancel(work.request_id, self.now)

    @invariant()
    def cores_are_shared(self) -> None:
        if hasattr(self, "scheduler"):
            self.referee.check_shares()

    @invariant()
    def models_add_up(self) -> None:
        if hasattr(self, "scheduler"):
            waiting = sum(status.waiting for status in self.scheduler.status(self.now))
            assert waiting == sum(len(queue) for queue in self.referee.waiting.values())

    def teardown(self) -> None:
        """With children that behave from now on, everything ends."""
        if not hasattr(self, "scheduler"):
            return
        for _ in range(2000):
            if all(work in self.referee.ends or work in self.referee.dropped for work in self.sent):
                return
            self.behave()
        lost = [work for work in self.sent if work not in self.referee.ends]
        raise AssertionError(f"{len(lost)} requests never ended")

    def behave(self) -> None:
        for replica, child in list(self.referee.children.items()):
            if child.killed:
                self.exit(replica)
            elif not child.ready:
                child.ready = True
                self.scheduler.on_loaded(replica, 100.0, Need(0), self.now)
            elif child.groups:
                self.finish(replica, child, 0, honest=True)
        due = self.scheduler.next_wake(self.now)
        self.referee.now = max(self.now + 0.1, due) if due is not None else self.now + 0.1
        self.tick()


Life.TestCase.settings = settings(
    max_examples=100,
    stateful_step_count=60,
    suppress_health_check=[HealthCheck.too_slow],  # a busy machine is no fault of the scheduler
)
TestLife = pytest.mark.no_cover(Life.TestCase)
