"""Schedules tried by their seeds; one that fails is cut down to what it needs to fail."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import NamedTuple, TypeVar
from unittest.mock import patch

import structlog

from modelmora.kafka.writing import outbox, publisher
from tests.protocol.judge import Violation
from tests.protocol.world import Clock, Step, World, schedule

LENGTH = 60
T = TypeVar("T")


class Found(NamedTuple):
    """A schedule that fails, and how."""

    seed: int
    why: str
    steps: Sequence[Step]

    def __str__(self) -> str:
        """For people."""
        lines = [f"    {each.kind} {each.node} {each.number}" for each in self.steps]
        return "\n".join([f"seed {self.seed}: {self.why}, by {len(lines)} steps:", *lines])


@contextmanager
def stillness() -> Iterator[Clock]:
    """A clock that the publisher goes by too; nothing is logged."""
    clock = Clock()
    time = SimpleNamespace(monotonic=clock)
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        with patch.object(outbox, "time", time), patch.object(publisher, "time", time):
            yield clock
    finally:
        structlog.configure(**before)


def fails(clock: Clock, steps: Iterable[Step]) -> str:
    """Why the schedule fails; "" where it does not."""
    try:
        World(clock).play(steps)
    except Violation as violation:
        return str(violation)
    return ""


def shrunk(steps: Sequence[T], still: Callable[[Sequence[T]], bool]) -> Sequence[T]:
    """Fewer steps that fail too: parts are left out, large ones first, until none can be."""
    size = len(steps)
    while size := size // 2:
        at = 0
        while at < len(steps):
            fewer = [*steps[:at], *steps[at + size :]]
            if still(fewer):
                steps, size = fewer, min(size, max(1, len(fewer)))
            else:
                at += size
    return steps


def search(seeds: Iterable[int], length: int = LENGTH) -> Found | None:
    """The first of these seeds whose schedule fails."""
    with stillness() as clock:
        for seed in seeds:
            steps: Sequence[Step] = schedule(seed, length)
            if why := fails(clock, steps):
                kind = why.partition(":")[0]

                def still(few: Sequence[Step], kind: str = kind) -> bool:
                    return fails(clock, few).startswith(kind)

                steps = shrunk(steps, still)
                return Found(seed, fails(clock, steps), steps)
    return None
