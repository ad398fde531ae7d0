"""How sure it is that one share, or one latency, is above another: confidence bounds; pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, sqrt
from statistics import NormalDist


def z_of(confidence: float) -> float:
    """How many standard deviations a one-sided bound of this confidence is away."""
    return NormalDist().inv_cdf(confidence)


def wilson(count: int, of: int, z: float) -> tuple[float, float]:
    """The lower and the upper bound of the share of which `count` of so many were seen.

    Wilson's score interval, without a correction for continuity (E. B. Wilson, 1927).
    """
    share, part = count / of, z * z / of
    middle = share + part / 2
    reach = z * sqrt((share * (1 - share) + part / 4) / of)
    return max(0.0, (middle - reach) / (1 + part)), min(1.0, (middle + reach) / (1 + part))


def least_difference(one: tuple[int, int], other: tuple[int, int], z: float) -> float:
    """By how much the share of `one` (count, of) is above that of `other` at the least.

    Newcombe's hybrid score interval (R. G. Newcombe, Statistics in Medicine 17, 1998, method 10).
    """
    share, other_share = one[0] / one[1], other[0] / other[1]
    below = share - wilson(*one, z)[0]
    above = wilson(*other, z)[1] - other_share
    return share - other_share - sqrt(below * below + above * above)


def quantile(ordered: Sequence[float], level: float) -> float:
    """The smallest value that so large a share of these, the smallest first, does not exceed."""
    return ordered[max(0, ceil(level * len(ordered)) - 1)]


def least_quantile(ordered: Sequence[float], level: float, z: float) -> float | None:
    """A lower bound of the quantile of which these, in order, are samples; None: too few.

    The order statistic whose rank so few samples below the quantile fall short of, by the normal
    approximation of the binomial distribution (W. J. Conover, Practical Nonparametric Statistics).
    """
    rank = floor(_middle(ordered, level) - z * _spread(ordered, level))
    return ordered[rank - 1] if rank >= 1 else None


def most_quantile(ordered: Sequence[float], level: float, z: float) -> float | None:
    """The upper bound, likewise."""
    rank = ceil(_middle(ordered, level) + z * _spread(ordered, level)) + 1
    return ordered[rank - 1] if rank <= len(ordered) else None


def _middle(ordered: Sequence[float], level: float) -> float:
    return len(ordered) * level


def _spread(ordered: Sequence[float], level: float) -> float:
    return sqrt(len(ordered) * level * (1 - level))
