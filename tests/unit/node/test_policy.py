"""The devices of a node, from its settings and what the machine has."""

from __future__ import annotations

import pytest

from modelmora.errors import ConfigurationError
from modelmora.messages import DeviceKind
from modelmora.node.policy import gpus_of, policy_of
from modelmora.resources.gpus import Gpu
from modelmora.scheduling import Device
from modelmora.settings import MemorySettings, Settings
from tests.nvml import GIB, two_gpus

THERE = (Gpu("GPU-aaaa", 0, "A", 8 * GIB, 4 * GIB), Gpu("GPU-bbbb", 1, "B", 16 * GIB, 16 * GIB))


def labels(memory: MemorySettings, visible: str | None = None) -> list[str]:
    return [device.label for device in gpus_of(memory, THERE, visible)]


def test_a_share_of_what_is_free_on_each_gpu_is_for_models() -> None:
    first, second = gpus_of(MemorySettings(gpu_share=0.5), THERE, None)
    assert first == Device("GPU-aaaa", DeviceKind.CUDA, 2 * GIB, "cuda:0")
    assert second.budget_bytes == 8 * GIB
    assert gpus_of(MemorySettings(gpu_bytes=GIB), THERE, None)[1].budget_bytes == GIB


def test_the_settings_say_which_gpus_are_used_else_the_environment() -> None:
    assert labels(MemorySettings()) == ["cuda:0", "cuda:1"]
    assert labels(MemorySettings(), "1") == ["cuda:1"]
    assert labels(MemorySettings(), "") == []
    assert labels(MemorySettings(), "-1") == []
    assert labels(MemorySettings(), "1,-1,0") == ["cuda:1"]
    assert labels(MemorySettings(gpus=("GPU-b",)), "0") == ["cuda:1"]
    assert labels(MemorySettings(gpus=()), "0") == []


def test_a_gpu_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match=r"names '3', .* it has: 0, 1"):
        labels(MemorySettings(gpus=("3",)))


def test_a_node_has_ram_and_the_gpus_of_its_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    two_gpus().install(monkeypatch)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    devices = policy_of(Settings(memory=MemorySettings(budget_bytes=GIB))).devices
    assert [device.label for device in devices] == ["cpu", "cuda:0", "cuda:1"]
    assert devices[0].budget_bytes == GIB
