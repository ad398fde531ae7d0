"""How far two texts are apart, in characters."""

from __future__ import annotations

MOST = 20_000
"""Characters of a text that are looked at, behind those with which both begin."""


def distance(one: str, other: str) -> int:
    """How many characters must be put in, taken out or changed to make one of the other.

    Levenshtein's distance by bit vectors, a column of the table in one number: Hyyrö (2003), "A
    bit-vector algorithm for computing Levenshtein and Damerau edit distances", figure 3. Of texts
    that differ further on than `MOST` characters the rest is counted as if it were all changed.
    """
    one, other = _without_common_ends(one, other)
    beyond = max(len(one) - MOST, len(other) - MOST, 0)
    one, other = one[:MOST], other[:MOST]
    if not one or not other:
        return max(len(one), len(other)) + beyond
    places: dict[str, int] = {}
    for at, character in enumerate(one):
        places[character] = places.get(character, 0) | 1 << at
    whole, last, found = (1 << len(one)) - 1, 1 << len(one) - 1, len(one)
    more, fewer = whole, 0
    for character in other:
        here = places.get(character, 0)
        same = (((here & more) + more) ^ more) | here | fewer
        up, down = fewer | ~(same | more) & whole, more & same
        found += bool(up & last) - bool(down & last)
        up, down = up << 1 | 1, down << 1
        more, fewer = (down | ~(same | up)) & whole, up & same & whole
    return found + beyond


def similarity(one: str, other: str) -> float:
    """1 for equal texts, 0 where nothing of the longer one stays."""
    longer = max(len(one), len(other))
    return 1 - distance(one, other) / longer if longer else 1.0


def _without_common_ends(one: str, other: str) -> tuple[str, str]:
    """Both without that with which they begin and end alike."""
    most = min(len(one), len(other))
    begin = next((at for at in range(most) if one[at] != other[at]), most)
    one, other, most = one[begin:], other[begin:], most - begin
    end = next((at for at in range(1, most + 1) if one[-at] != other[-at]), most + 1) - 1
    return one[: len(one) - end], other[: len(other) - end]
