"""What is kept of a picture to compare it with another: its size and a perceptual hash."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from io import BytesIO
from math import cos, pi
from statistics import median
from typing import NamedTuple

BITS = 64
MOST_PIXELS = 64 << 20
"""A picture of more is not opened."""
SIDE, KEPT = 32, 8


class Look(NamedTuple):
    """What a picture looks like: its width and height, and 64 bits, alike for what looks alike."""

    size: tuple[int, int]
    hash: int


def look(content: bytes) -> Look | None:
    """What these bytes look like; None where they are no picture, or Pillow is not installed.

    The hash is that of the lowest frequencies of the picture in grey, 32 by 32: whether each lies
    above their median. Zauner (2010), "Implementation and benchmarking of perceptual image hash
    functions", 3.2.1.
    """
    try:
        from PIL import Image
    except ImportError:
        return None
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(BytesIO(content)) as image:
            size = image.size
            if size[0] * size[1] > MOST_PIXELS:
                return None
            grey = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX).tobytes()
    except Exception:  # noqa: BLE001  # decoders raise whatever they stumble over
        return None
    return Look(size, _hash(grey))


def apart(one: Look, other: Look) -> int:
    """How many of the 64 bits differ; of two pictures by chance about half."""
    return (one.hash ^ other.hash).bit_count()


def _hash(grey: Sequence[int]) -> int:
    waves = _waves()
    rows = [grey[at : at + SIDE] for at in range(0, SIDE * SIDE, SIDE)]
    across = [[_product(row, wave) for wave in waves] for row in rows]
    columns = list(zip(*across, strict=True))
    found = [_product(column, wave) for wave in waves for column in columns]
    # The first is the brightness of the whole, far above all others.
    middle = median(found[1:])
    return sum((each > middle) << at for at, each in enumerate(found))


@cache
def _waves() -> tuple[tuple[float, ...], ...]:
    """The cosines of the lowest frequencies."""
    return tuple(
        tuple(cos(pi * wave * (2 * at + 1) / (2 * SIDE)) for at in range(SIDE))
        for wave in range(KEPT)
    )


def _product(values: Sequence[float], weights: Sequence[float]) -> float:
    return sum(value * weight for value, weight in zip(values, weights, strict=True))
