"""The kinds of device that a model can be on, and the costs under which is told what it takes."""

from __future__ import annotations

from enum import StrEnum


class DeviceKind(StrEnum):
    """What a model computes on; the word that PyTorch has for it."""

    CPU = "cpu"
    """Its memory is the machine's RAM."""
    CUDA = "cuda"
    """An NVIDIA GPU."""


def step(cost: int) -> int:
    """The cost under which a batch is remembered: rounded up to a power of two; 0: none ran."""
    return 1 << (cost - 1).bit_length() if cost > 0 else 0
