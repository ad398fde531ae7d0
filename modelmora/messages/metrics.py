"""What a process of ours measures, as its other reader Prometheus names it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

BATCH_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Upper bounds of what batches are counted by; the environments of runtimes count by them too."""


@dataclass(frozen=True, slots=True)
class MetricSample:
    """One measured value in base units; `time` is Unix ms, `node` a node or a gateway."""

    node: str
    time: int
    name: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)
