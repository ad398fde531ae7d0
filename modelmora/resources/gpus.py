"""Reads GPUs and their memory from NVIDIA's driver; where there is none there are no GPUs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, or one instance of a GPU that is divided (MIG): to CUDA each is a device.

    `index` is the driver's, `instance` the number of the instance on it; `total` and `free` are
    bytes of its memory.
    """

    uuid: str
    index: int
    name: str
    total: int
    free: int
    instance: int | None = None

    @property
    def number(self) -> str:
        """The index, and the instance as NVIDIA's tools write it: `0`, `0:1`."""
        return str(self.index) if self.instance is None else f"{self.index}:{self.instance}"


def list_gpus() -> tuple[Gpu, ...]:
    """All GPUs that the driver shows to this process, in its order; none without a driver.

    One of which it does not tell the memory is left out: nothing could be planned on it.
    """
    found: list[Gpu] = []
    with _driver() as nvml:
        for index in range(nvml.nvmlDeviceGetCount() if nvml else 0):
            with suppress(nvml.NVMLError):
                whole = nvml.nvmlDeviceGetHandleByIndex(index)
                instances = _instances(nvml, whole)
                if instances is None:
                    found.append(_gpu(nvml, whole, index))
                else:
                    found += (_gpu(nvml, one, index, number) for number, one in instances)
    return tuple(found)


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
    """The GPUs that these numbers or beginnings of UUIDs name, in that order; names of none.

    The index of a divided GPU names all its instances.
    """
    found = {
        name: [
            gpu for gpu in gpus if name in (str(gpu.index), gpu.number) or gpu.uuid.startswith(name)
        ]
        for name in names
    }
    named = dict.fromkeys(gpu for matches in found.values() for gpu in matches)
    return tuple(named), tuple(name for name, matches in found.items() if not matches)


def _instances(nvml: Any, whole: Any) -> list[tuple[int, Any]] | None:
    """Number and handle of each instance of a divided GPU; None for one that is whole.

    CUDA computes on one instance only, which it must be shown by the instance's own UUID.
    """
    try:
        if nvml.nvmlDeviceGetMigMode(whole)[0] != nvml.NVML_DEVICE_MIG_ENABLE:
            return None
        count = nvml.nvmlDeviceGetMaxMigDeviceCount(whole)
    except nvml.NVMLError:
        return None  # too old to be divided
    found = []
    for number in range(count):
        with suppress(nvml.NVMLError):  # there is none of that number
            found.append((number, nvml.nvmlDeviceGetMigDeviceHandleByIndex(whole, number)))
    return found


def _gpu(nvml: Any, handle: Any, index: int, instance: int | None = None) -> Gpu:
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    uuid, name = _text(nvml.nvmlDeviceGetUUID(handle)), _text(nvml.nvmlDeviceGetName(handle))
    return Gpu(uuid, index, name, int(memory.total), int(memory.free), instance)


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
