"""Means of what is measured again and again."""

from __future__ import annotations

_WEIGHT = 0.2


def ewma(mean: float | None, value: float) -> float:
    """Exponentially weighted mean (Roberts 1959), weight 0.2; the first value is the mean."""
    return value if mean is None else mean + _WEIGHT * (value - mean)
