"""The kinds of device that a model can be on."""

from __future__ import annotations

from enum import StrEnum


class DeviceKind(StrEnum):
    """What a model computes on; the word that PyTorch has for it."""

    CPU = "cpu"
    """Its memory is the machine's RAM."""
    CUDA = "cuda"
    """An NVIDIA GPU."""
