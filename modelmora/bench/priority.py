"""Whether urgent requests pass a long queue, and what the scheduler's queue costs."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from statistics import median, quantiles

from modelmora.bench.report import Figure, at_least, at_most
from modelmora.bench.stage import Stage, Tail, appended_s, requests_of
from modelmora.errors import RequestError
from modelmora.messages import Health, Lane
from modelmora.scheduling import (
    Chunk,
    Group,
    ItemResult,
    KillReason,
    ModelKey,
    ModelSpec,
    Need,
    Placement,
    Policy,
    Scheduler,
    Work,
)
from modelmora.scheduling.line.queue import ModelQueue
from modelmora.settings import Limits

WAITING = 50_000
CALLS = 40
IDLE_CALLS = 100
SLEEP_MS = 5.0
GROUP = Limits().group_requests
WORKS = 100_000
PRINCIPALS = 100
ROUNDS = 3
SPEC = ModelSpec("bench", "1", "bench", "none", "", 0, needs_cores=False)


@dataclass(slots=True)
class Item:
    """An answer without content."""

    index: int


@dataclass(slots=True)
class Recorder:
    """`Effects` that remember the groups."""

    loads: list[int] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)

    def load(self, replica: int, spec: ModelSpec, place: Placement) -> None:
        """Remember which child to report as loaded."""
        del spec, place
        self.loads.append(replica)

    def run(self, group: Group) -> None:
        """Remember the group."""
        self.groups.append(group)

    def threads(self, replica: int, count: int) -> None:
        """Not of interest."""

    def cancel(self, group: int, index: int) -> None:
        """Nothing is cancelled here."""

    def kill(self, replica: int, reason: KillReason) -> None:
        """Nothing is killed here."""

    def turned(self, model: ModelKey, was: Health, health: Health) -> None:
        """Not of interest."""

    def progressed(self, work: Work, chunk: Chunk) -> None:
        """Nothing is told."""

    def started(self, work: Work) -> None:
        """Not of interest."""

    def answered(self, work: Work, result: ItemResult) -> None:
        """Not of interest."""

    def failed(self, work: Work, error: RequestError) -> None:
        """Not of interest."""


def critical(stage: Stage) -> list[Figure]:
    """Groups that the 99th percentile of critical requests waits longer behind 50,000 low ones.

    The last of all measurements: it leaves the queue full.
    """
    tail = stage.tail("modelmora.results")
    _wait_s(stage, tail)  # loads the model
    idle = [_wait_s(stage, tail) for _ in range(stage.scaled(IDLE_CALLS, 3))]
    stage.send(requests_of("sleep", ["x"] * stage.scaled(WAITING), ms=SLEEP_MS), lane="low")
    worked_off = [appended_s(message) for message in tail.take(stage.scaled(5 * GROUP, 20))]
    loaded = [_wait_s(stage, tail) for _ in range(stage.scaled(CALLS, 3))]
    tail.close()
    # What a group takes in fact, which is a little more than its sleeps.
    group_s = GROUP * (worked_off[-1] - worked_off[0]) / (len(worked_off) - 1)
    extra = _p99(loaded) - _p99(idle)
    figure = Figure(
        "critical.p99_over_batch",
        extra / group_s,
        "groups",
        at_most(2),
        group_s,
        {"idle p99 s": _p99(idle), "loaded p99 s": _p99(loaded), "group s": group_s},
    )
    return [figure]


def _wait_s(stage: Stage, tail: Tail) -> float:
    requests = requests_of("sleep", ["x"], ms=SLEEP_MS)
    mine = requests[0].request_id.encode()
    began = stage.send(requests, lane="critical")
    return appended_s(tail.take(1, lambda message: message.key() == mine)[0]) - began


def _p99(values: Sequence[float]) -> float:
    return quantiles(values, n=100, method="inclusive")[98]


def queue(scale: float) -> list[Figure]:
    """Appending to a model's queue and grouping, beside asyncio's PriorityQueue put and get."""
    count = int(WORKS * scale)
    ours, theirs, whole, shared = [], [], [], []
    for _ in range(max(1, int(ROUNDS * scale))):
        works = _works(count)
        ours.append(_timed(partial(_append_and_take, works)))
        theirs.append(_timed(partial(_priority_queue, works)))
        whole.append(_timed(partial(_schedule, works)))
        shared.append(_timed(partial(_schedule, _works(count, PRINCIPALS))))
    rates = {
        "queue /s": count / median(ours),
        "asyncio /s": count / median(theirs),
        "whole life /s": count / median(whole),
        "of 100 principals /s": count / median(shared),
    }
    return [
        Figure(
            "queue.ops_vs_asyncio",
            rates["queue /s"] / rates["asyncio /s"],
            "ratio",
            at_least(1),
            rates["asyncio /s"],
            rates,
        ),
        Figure("queue.violations", _violations(count), "count", at_most(0)),
    ]


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _works(count: int, principals: int = 1) -> list[Work]:
    chosen = random.Random(1)
    works = [
        Work(str(n), SPEC.key, Lane(chosen.randrange(4)), (), 200, 0.0, None, b"", n, ("t", 0))
        for n in range(count)
    ]
    for work in works:
        work.principal = str(chosen.randrange(principals))
    return works


def _append_and_take(works: Sequence[Work]) -> int:
    policy = Policy(group_requests=GROUP)
    waiting, taken = ModelQueue(), 0
    for order, work in enumerate(works, 1):
        work.order = order
        waiting.lanes[work.lane].append(work)
    while group := waiting.take(policy, 0.0):
        taken += len(group)
    return taken


def _schedule(works: Sequence[Work]) -> list[Group]:
    """Admit all while the model loads, then run group after group to the end."""
    recorder = Recorder()
    scheduler = Scheduler(recorder, Policy(group_requests=GROUP, budget_bytes=1 << 40))
    scheduler.add_model(SPEC, 0.0)
    for work in works:
        scheduler.submit(work, 0.0)
    scheduler.on_loaded(recorder.loads[0], 1.0, Need(1), 0.0)
    done = 0
    while done < len(recorder.groups):
        group = recorder.groups[done]
        scheduler.on_results(
            group.replica, group.id, [Item(i) for i in range(len(group.works))], 0.0
        )
        scheduler.on_group_done(group.replica, group.id, 1.0, 0.0)
        done += 1
    return recorder.groups


def _priority_queue(works: Sequence[Work]) -> None:
    async def put_and_get() -> None:
        waiting: asyncio.PriorityQueue[tuple[int, int]] = asyncio.PriorityQueue()
        for number, work in enumerate(works):
            await waiting.put((work.lane, number))
        for _ in works:
            await waiting.get()

    asyncio.run(put_and_get())


def _violations(count: int) -> int:
    """Works that ran before one of a more urgent lane, or of their own lane and earlier."""
    order = [(work.lane, work.source) for group in _schedule(_works(count)) for work in group.works]
    wrong = sum(later < earlier for earlier, later in pairwise(order))
    return wrong + (count - len(order))
