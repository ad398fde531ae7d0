"""Reads GPUs and their memory from NVIDIA's driver; where there is none there are no GPUs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pynvml


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU; `index` is the driver's, `total` and `free` are bytes of its memory."""

    uuid: str
    index: int
    name: str
    total: int
    free: int


def list_gpus() -> tuple[Gpu, ...]:
    """All GPUs that the driver shows to this process, in its order; none without a driver."""
    with _driver() as there:
        count = pynvml.nvmlDeviceGetCount() if there else 0
        return tuple(_gpu(index) for index in range(count))
    return ()


def free_memory(uuid: str) -> int | None:
    """Bytes of a GPU's memory that nobody holds; None where the driver does not say."""
    with _driver() as there:
        if there:
            memory = pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByUUID(uuid))
            return int(memory.free)
    return None


def held_by(pid: int, uuid: str) -> int:
    """Bytes of a GPU's memory that a process holds; 0 if none, or where that cannot be seen.

    In a container of its own process numbers, the driver speaks of those outside.
    """
    with _driver() as there:
        if there:
            handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
            found = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
            # None: the driver knows of the process but not what it holds.
            return sum(one.usedGpuMemory or 0 for one in found if one.pid == pid)
    return 0


def chosen(gpus: Sequence[Gpu], names: Sequence[str]) -> tuple[tuple[Gpu, ...], tuple[str, ...]]:
    """The GPUs that these indices or beginnings of UUIDs name, in that order; names of none."""
    found = {
        name: [gpu for gpu in gpus if name == str(gpu.index) or gpu.uuid.startswith(name)]
        for name in names
    }
    named = dict.fromkeys(gpu for matches in found.values() for gpu in matches)
    return tuple(named), tuple(name for name, matches in found.items() if not matches)


def _gpu(index: int) -> Gpu:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    uuid, name = _text(pynvml.nvmlDeviceGetUUID(handle)), _text(pynvml.nvmlDeviceGetName(handle))
    return Gpu(uuid, index, name, int(memory.total), int(memory.free))


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


@contextmanager
def _driver() -> Iterator[bool]:
    """Whether the driver is there; what it refuses meanwhile counts as not told."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield False
        return
    try:
        yield True
    except pynvml.NVMLError:
        return
    finally:
        pynvml.nvmlShutdown()
