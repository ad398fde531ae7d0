"""How far one outcome agrees with another of the same request, by what they are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import zip_longest
from math import isfinite, sqrt
from operator import mul
from statistics import fmean
from sys import float_info
from typing import Any, NamedTuple, cast

from modelmora.comparing.answers import Answer, Blob, Kind, Part
from modelmora.comparing.pictures import BITS, apart
from modelmora.comparing.texts import distance
from modelmora.messages import InferenceResult, Tensor
from modelmora.wire.tensors import BadTensor, elements, flat


class Compared(NamedTuple):
    """What came of a pair.

    `agreement` is 1 where the candidate says what the baseline says and 0 where it says nothing of
    it; None where the pair tells nothing of the candidate. `why` says why there are no `measures`.
    """

    agreement: float | None
    measures: Mapping[str, float]
    why: str = ""


_Found = tuple[float, dict[str, float]]


def agreement(baseline: InferenceResult, candidate: InferenceResult) -> float | None:
    """How far two outcomes of one request agree, from 0 to 1; None where they tell nothing."""
    return compared(Answer.of(baseline), Answer.of(candidate)).agreement


def compared(baseline: Answer, candidate: Answer) -> Compared:
    """What a pair tells of the candidate.

    (1) There is nothing to be compared with.
    (2) The candidate had no room or time: that is no fault of the version.
    (3) It failed, or answers otherwise, where the baseline answers.
    (4) Else by what both are made of.
    """
    # (1)
    if not baseline.answered:
        return Compared(None, {}, f"baseline {baseline.error or baseline.status}")
    # (2)
    if not candidate.final:
        return Compared(None, {}, f"candidate {candidate.error}")
    # (3)
    if not candidate.answered:
        return Compared(0.0, {}, candidate.error or candidate.status)
    if baseline.kind is not candidate.kind:
        return Compared(0.0, {}, f"{candidate.kind}, not {baseline.kind}")
    # (4)
    same = baseline.parts == candidate.parts
    try:
        found, measures = _BY_KIND[baseline.kind](baseline.parts, candidate.parts)
    except _Unlike as unlike:
        return Compared(0.0, {"same": 0.0}, str(unlike))
    except BadTensor:
        return Compared(float(same), {"same": float(same)}, "a tensor contradicts itself")
    return Compared(1.0 if same else found, {"same": float(same), **measures})


class _Unlike(Exception):
    """The outputs are of different shapes, so that there is nothing to measure."""


def _texts(one: Sequence[Part], other: Sequence[Part]) -> _Found:
    pairs = [*zip_longest(cast("Sequence[str]", one), cast("Sequence[str]", other), fillvalue="")]
    edits = [distance(*pair) for pair in pairs]
    longest = [max(*map(len, pair), 1) for pair in pairs]
    similar = fmean(1 - edit / long for edit, long in zip(edits, longest, strict=True))
    return similar, {"similarity": similar, "edits": float(sum(edits))}


def _vectors(one: Sequence[Part], other: Sequence[Part]) -> _Found:
    shape, mine, yours = _same_shape(one[0], other[0])
    wide = shape[-1]
    starts = range(0, len(mine), wide) if wide else range(0)
    found = [cosine(mine[at : at + wide], yours[at : at + wide]) for at in starts]
    if not found:
        return float(one == other), {}
    return max(0.0, fmean(found)), {"cosine": min(found)}


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """The cosine of the angle between two vectors; 0 where one is no direction, unless equal."""
    if one == other:
        return 1.0
    product = sum(map(mul, one, other))
    lengths = sqrt(sum(map(mul, one, one))) * sqrt(sum(map(mul, other, other)))
    found = product / lengths if lengths else 0.0
    return min(1.0, max(-1.0, found)) if isfinite(found) else 0.0


def _classes(one: Sequence[Part], other: Sequence[Part]) -> _Found:
    mine, yours = _ranked(one), _ranked(other)
    if len(mine) != len(yours):
        raise _Unlike(f"labels of {len(yours)} inputs, not of {len(mine)}")
    _check_numbers(*([score for row in rows for _, score in row] for rows in (mine, yours)))
    pairs = [(a, b) for a, b in zip(mine, yours, strict=True) if a]
    if not pairs:
        return float(one == other), {}
    first = fmean(a[0][0] == b[0][0] if b else False for a, b in pairs)
    order = fmean([name for name, _ in a] == [name for name, _ in b] for a, b in pairs)
    measures = {"first": first, "ranking": order}
    moved = [(a[0][1], dict(b)[a[0][0]]) for a, b in pairs if a[0][0] in dict(b)]
    return first, measures | _moved("score_moved", moved)


def _ranked(parts: Sequence[Part]) -> list[list[tuple[bytes, float]]]:
    """Of each input the labels and their scores, the best first."""
    tensors = {each.name: each for each in parts if isinstance(each, Tensor)}
    scores, labels = flat(tensors["scores"]), [*elements(tensors["labels"].data)]
    if tensors["scores"].shape != tensors["labels"].shape or len(scores) != len(labels):
        raise BadTensor("scores and labels are of different shapes")
    shape = tensors["scores"].shape
    wide = shape[-1] if shape else 1
    pairs = [*zip(labels, scores, strict=True)]
    return [pairs[at : at + wide] for at in range(0, len(pairs), wide)] if wide else []


def _scores(one: Sequence[Part], other: Sequence[Part]) -> _Found:
    _, mine, yours = _same_shape(one[0], other[0])
    if not mine:
        return float(one == other), {}
    orders = [sorted(range(len(each)), key=lambda at: -each[at]) for each in (mine, yours)]
    first = float(orders[0][0] == orders[1][0])
    ranking = float(orders[0] == orders[1])
    moved = _moved("score_moved", zip(mine, yours, strict=True))
    return first, {"first": first, "ranking": ranking, **moved}


def _pictures(one: Sequence[Part], other: Sequence[Part]) -> _Found:
    """By what they look like, or, where that is unknown, whether they are the same bytes."""
    mine, yours = cast("Sequence[Blob]", one), cast("Sequence[Blob]", other)
    if len(mine) != len(yours):
        raise _Unlike(f"{len(yours)} of them, not {len(mine)}")
    pairs = [*zip(mine, yours, strict=True)]
    sizes = fmean(b.size / max(a.size, 1) for a, b in pairs)
    looks = [(a.look, b.look) for a, b in pairs if a.look and b.look]
    if len(looks) < len(pairs):
        return fmean(a.digest == b.digest for a, b in pairs), {"size": sizes}
    bits = [apart(a, b) for a, b in looks if a and b]
    shape = fmean(a.size == b.size for a, b in looks if a and b)
    # By chance half of the bits are the same.
    alike = fmean(max(0.0, 1 - 2 * each / BITS) for each in bits)
    return alike, {"hash_apart": float(max(bits)), "same_shape": shape, "size": sizes}


def _tensors(one: Sequence[Part], other: Sequence[Part]) -> _Found:
    """Of several tensors the one that agrees least counts."""
    mine, yours = ({each.name: each for each in parts} for parts in _as_tensors(one, other))
    if mine.keys() != yours.keys():
        raise _Unlike("tensors of other names")
    found: list[float] = []
    numbers: list[tuple[float, float]] = []
    for name, tensor in mine.items():
        _, before, after = _same_shape(tensor, yours[name])
        if tensor.dtype == "BYTES":
            found.append(_share_of_equal(before, after))
            continue
        found.append(cosine(before, after))
        numbers += zip(before, after, strict=True)
    least = max(0.0, min(found))
    return least, {"cosine": min(found), **_moved("moved", numbers)} if numbers else {}


def _others(one: Sequence[Part], other: Sequence[Part]) -> _Found:
    return float(one == other), {}


def _as_tensors(*several: Sequence[Part]) -> Iterable[list[Tensor]]:
    return ([each for each in parts if isinstance(each, Tensor)] for parts in several)


def _same_shape(one: Part, other: Part) -> tuple[tuple[int, ...], list[Any], list[Any]]:
    """The shape of both tensors and their elements."""
    mine, yours = cast("Tensor", one), cast("Tensor", other)
    before, after = flat(mine), flat(yours)
    if mine.shape != yours.shape or (mine.dtype == "BYTES") != (yours.dtype == "BYTES"):
        raise _Unlike(f"{_form(yours)}, not {_form(mine)}")
    _check_numbers(before, after)
    return mine.shape, before, after


def _check_numbers(before: Sequence[Any], after: Sequence[Any]) -> None:
    """Raises _Unlike where the candidate has no number and the baseline has one."""
    if not _numbers(after) and _numbers(before):
        raise _Unlike("numbers that are none (NaN or infinite)")


def _numbers(values: Sequence[Any]) -> bool:
    return all(isfinite(each) for each in values if isinstance(each, float))


def _form(tensor: Tensor) -> str:
    """Its type and shape, without the number of rows, which is each request's own."""
    rows, *rest = tensor.shape or (1,)
    return f"{tensor.dtype} [{', '.join(['n' if rest else str(rows), *map(str, rest)])}]"


def _share_of_equal(one: Sequence[Any], other: Sequence[Any]) -> float:
    return fmean(a == b for a, b in zip(one, other, strict=True)) if one else 1.0


def _moved(name: str, pairs: Iterable[tuple[float, float]]) -> dict[str, float]:
    """The largest difference, as a measure of this name; what is no number has none."""
    found = [abs(a - b) for a, b in pairs if isfinite(a) and isfinite(b)]
    return {name: min(float(max(found)), float_info.max)} if found else {}


_BY_KIND: Mapping[Kind, Callable[[Sequence[Part], Sequence[Part]], _Found]] = {
    Kind.TEXTS: _texts,
    Kind.VECTORS: _vectors,
    Kind.CLASSES: _classes,
    Kind.SCORES: _scores,
    Kind.PICTURES: _pictures,
    Kind.TENSORS: _tensors,
    Kind.OTHERS: _others,
    Kind.NOTHING: _others,
}
