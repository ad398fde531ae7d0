"""Many inputs as several requests, and their answers as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

PORTION_INPUTS = 128
"""Vectors of 2,048 dimensions still fit a record of 1 MiB; the model may allow fewer."""
PORTION_BYTES = 500_000
"""Half of what a request may have, since JSON escapes."""


def portions(inputs: Sequence[str], most: int = PORTION_INPUTS) -> Iterator[list[str]]:
    """The inputs in order, in portions of `most` and `PORTION_BYTES`; one too large stands alone.

    Raises UnicodeEncodeError, whose object is the input, for one that is no UTF-8.
    """
    portion: list[str] = []
    filled = 0
    for text in inputs:
        length = len(text.encode())
        if portion and (len(portion) == most or filled + length > PORTION_BYTES):
            yield portion
            portion, filled = [], 0
        portion.append(text)
        filled += length
    yield portion


def joined(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One answer of several, their outputs in order, tensors of one kind laid end to end.

    It has `request_ids` for `request_id`, and the sums of the times. One answer stays as it is.
    """
    if len(answers) == 1:
        return answers[0]
    outputs: list[Any] = []
    for output in (output for answer in answers for output in answer["outputs"]):
        place = next((n for n, one in enumerate(outputs) if _continues(one, output)), None)
        if place is None:
            outputs.append(output)
            continue
        before = outputs[place]
        shape = [before["shape"][0] + output["shape"][0], *output["shape"][1:]]
        outputs[place] = before | {"shape": shape, "data": before["data"] + output["data"]}
    names = dict.fromkeys(name for answer in answers for name in answer.get("timings") or {})
    return {
        "request_ids": [answer["request_id"] for answer in answers],
        "model": answers[-1]["model"],
        "version": answers[-1]["version"],
        "outputs": outputs,
        "timings": {name: sum(answer["timings"][name] for answer in answers) for name in names},
    }


def _continues(before: Any, output: Any) -> bool:
    """Whether both are rows of one tensor."""
    if not all(isinstance(one, dict) and len(one.get("shape", ())) > 1 for one in (before, output)):
        return False
    return all(before.get(key) == output.get(key) for key in ("name", "dtype")) and (
        before["shape"][1:] == output["shape"][1:]
    )
