"""A stand-in for NVIDIA's driver: a machine with two GPUs, or with whatever a test says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace

import pynvml
import pytest

GIB = 1 << 30


@dataclass
class FakeGpu:
    """One GPU and what processes hold of it, by pid; None = the driver does not say.

    `instances` are those of a divided one by their numbers; `mute`: it does not tell its memory.
    """

    uuid: str
    total: int = 8 * GIB
    held: dict[int, int | None] = field(default_factory=dict)
    instances: dict[int, FakeGpu] | None = None
    mute: bool = False

    @property
    def free(self) -> int:
        return self.total - sum(held or 0 for held in self.held.values())


@dataclass
class FakeDriver:
    """What `pynvml` asks, with as many openings as closings."""

    gpus: list[FakeGpu]
    open: int = 0

    def install(self, patch: pytest.MonkeyPatch) -> FakeDriver:
        """Be the driver that `pynvml` speaks to."""
        calls: dict[str, Callable[..., object]] = {
            "Init": self._init,
            "Shutdown": self._shutdown,
            "DeviceGetCount": lambda: len(self.gpus),
            "DeviceGetHandleByIndex": lambda index: self.gpus[index],
            "DeviceGetHandleByUUID": self._by_uuid,
            "DeviceGetUUID": lambda gpu: gpu.uuid,
            "DeviceGetName": lambda gpu: b"Fake " + gpu.uuid.encode(),
            "DeviceGetMemoryInfo": self._memory,
            "DeviceGetMigMode": self._mig_mode,
            "DeviceGetMaxMigDeviceCount": lambda gpu: 7,
            "DeviceGetMigDeviceHandleByIndex": self._instance,
            "DeviceGetComputeRunningProcesses": lambda gpu: [
                SimpleNamespace(pid=pid, usedGpuMemory=held) for pid, held in gpu.held.items()
            ],
        }
        for name, call in calls.items():
            patch.setattr(pynvml, f"nvml{name}", call)
        return self

    def _init(self) -> None:
        self.open += 1

    def _shutdown(self) -> None:
        self.open -= 1

    def _by_uuid(self, uuid: str) -> FakeGpu:
        assert self.open
        instances = [one for gpu in self.gpus for one in (gpu.instances or {}).values()]
        found = [gpu for gpu in [*self.gpus, *instances] if gpu.uuid == uuid]
        if not found:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return found[0]

    @staticmethod
    def _memory(gpu: FakeGpu) -> SimpleNamespace:
        if gpu.mute:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return SimpleNamespace(total=gpu.total, free=gpu.free)

    @staticmethod
    def _mig_mode(gpu: FakeGpu) -> list[int]:
        if gpu.mute:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return [int(gpu.instances is not None)] * 2

    @staticmethod
    def _instance(gpu: FakeGpu, number: int) -> FakeGpu:
        if number not in (gpu.instances or {}):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return (gpu.instances or {})[number]


def two_gpus() -> FakeDriver:
    """A machine with GPUs of 8 and 16 GiB."""
    return FakeDriver([FakeGpu("GPU-aaaa"), FakeGpu("GPU-bbbb", 16 * GIB)])
