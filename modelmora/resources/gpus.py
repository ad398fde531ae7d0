"""Reads GPUs and their memory from NVIDIA's driver; where there is none there are no GPUs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


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
    with _driver() as nvml:
        count = nvml.nvmlDeviceGetCount() if nvml else 0
        return tuple(_gpu(nvml, index) for index in range(count))
    return ()


def held_by(pid: int, uuid: str) -> int:
    """Bytes of a GPU's memory that a process holds; 0 if none, or where that cannot be seen.

    In a container of its own process numbers, the driver speaks of those outside.
    """
    with _driver() as nvml:
        if nvml:
            handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
            found = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
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


def _gpu(nvml: Any, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    uuid, name = _text(nvml.nvmlDeviceGetUUID(handle)), _text(nvml.nvmlDeviceGetName(handle))
    return Gpu(uuid, index, name, int(memory.total), int(memory.free))


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


@contextmanager
def _driver() -> Iterator[Any]:
    """The driver's library, None where there is none; what it refuses counts as not told."""
    import pynvml  # here, for the processes of models have no use for it

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    try:
        yield pynvml
    except pynvml.NVMLError:
        return
    finally:
        pynvml.nvmlShutdown()
