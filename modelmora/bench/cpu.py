"""What work costs in CPU time, by process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence

import psutil

from modelmora.bench.stage import Stage


def parts(stage: Stage) -> dict[str, list[int]]:
    """The processes by which a request comes and goes; the caller is this one."""
    node = stage.pid("node")
    children = [child.pid for child in psutil.Process(node).children(recursive=True)]
    caller = [os.getpid()]
    return {"node": [node], "children": children, "broker": [stage.pid("broker")], "caller": caller}


@contextlib.contextmanager
def spent(processes: Mapping[str, Sequence[int]]) -> Iterator[dict[str, float]]:
    """User and system time (s) that they use within the block; known when it is left."""
    before = {name: _cpu_s(pids) for name, pids in processes.items()}
    found: dict[str, float] = {}
    yield found
    found |= {name: _cpu_s(pids) - before[name] for name, pids in processes.items()}


def _cpu_s(pids: Sequence[int]) -> float:
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)
