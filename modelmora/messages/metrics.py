"""What a process of ours measures, as its other reader Prometheus names it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class MetricSample:
    """One measured value in base units; `time` is Unix ms, `node` a node or a gateway."""

    node: str
    time: int
    name: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)
