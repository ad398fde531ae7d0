"""What the machine has and what processes use of it."""

from modelmora.resources.probe import (
    Memory,
    available_memory,
    cores,
    memory_of,
    peak_memory,
    private_memory,
    summed_pss,
)

__all__ = [
    "Memory",
    "available_memory",
    "cores",
    "memory_of",
    "peak_memory",
    "private_memory",
    "summed_pss",
]
