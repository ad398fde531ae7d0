"""Reads cores and memory from the operating system; bytes everywhere."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

_CGROUP_V2 = ("memory.max", "memory.current", "memory.stat", "inactive_file")
_CGROUP_V1 = (
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    "memory.stat",
    "total_inactive_file",
)


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of one process: `private` is what its end gives back, `pss` its fair share.

    Resident size is not given: it counts pages shared with others as if they were its own.
    """

    private: int
    pss: int


def cores() -> int:
    """CPU cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_of(pid: int) -> Memory:
    """Private and proportional memory of a process; zeros once it has ended.

    Source: /proc/<pid>/smaps_rollup (Private_Clean + Private_Dirty + Private_Hugetlb, and Pss);
    elsewhere psutil's unique set size for both.
    """
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except FileNotFoundError:
        return _portable_memory(pid) if not Path("/proc/self/smaps_rollup").exists() else _NONE
    except OSError:
        return _NONE  # ended while it was read, or another user's
    return _parse_rollup(text)


def private_memory(pid: int) -> int:
    """Bytes that come back when this process ends."""
    return memory_of(pid).private


def peak_memory(pid: int) -> int:
    """The most bytes that would have come back at any time since this was asked last.

    That is the private memory now, and by how much all its memory was above today's before
    (VmHWM, begun anew through /proc/<pid>/clear_refs).
    """
    private = private_memory(pid)
    folder = Path(f"/proc/{pid}")
    try:
        lines = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        above = int(lines["VmHWM"].split()[0]) - int(lines["VmRSS"].split()[0])
        (folder / "clear_refs").write_text("5")
    except (OSError, KeyError, ValueError):
        return private  # it has ended, or is not read this way here
    return private + max(0, above) * 1024


def summed_pss(pids: Iterable[int]) -> int:
    """Proportional memory of several processes together; shared pages count once."""
    return sum(memory_of(pid).pss for pid in pids)


def available_memory(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that can still be used: the machine's MemAvailable or the cgroup's rest, if less.

    A cgroup's inactive file cache counts as available, as it does in MemAvailable.
    """
    free = psutil.virtual_memory().available
    rests = [free]
    for folder, names in _cgroup_folders(proc, cgroup):
        rest = _cgroup_rest(folder, names)
        if rest is not None:
            rests.append(rest)
    return max(0, min(rests))


_NONE = Memory(0, 0)


def _parse_rollup(text: str) -> Memory:
    private = pss = 0
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if name.startswith("Private_"):
            private += int(rest.split()[0])
        elif name == "Pss":
            pss = int(rest.split()[0])
    return Memory(private * 1024, pss * 1024)


def _portable_memory(pid: int) -> Memory:
    try:
        unique = int(psutil.Process(pid).memory_full_info().uss)
    except psutil.Error:
        return _NONE
    return Memory(unique, unique)


def _cgroup_folders(proc: Path, root: Path) -> list[tuple[Path, tuple[str, ...]]]:
    """This process's memory cgroup and all above it, of either version."""
    folders: list[tuple[Path, tuple[str, ...]]] = []
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, names = root, _CGROUP_V2
        elif "memory" in controllers.split(","):
            base, names = root / "memory", _CGROUP_V1
        else:
            continue
        folder = base / path.lstrip("/")
        # In a container the path may be the host's, which is not mounted here: the root then.
        while folder != base and base in folder.parents:
            folders.append((folder, names))
            folder = folder.parent
        folders.append((base, names))
    return folders


def _cgroup_rest(folder: Path, names: tuple[str, ...]) -> int | None:
    limit_name, usage_name, stat_name, cache_name = names
    try:
        limit = (folder / limit_name).read_text().strip()
        usage = int((folder / usage_name).read_text())
        stat = (folder / stat_name).read_text().splitlines()
    except (OSError, ValueError):
        return None
    if limit == "max":
        return None
    cache = next((int(line.split()[1]) for line in stat if line.split()[0] == cache_name), 0)
    return int(limit) - usage + cache
