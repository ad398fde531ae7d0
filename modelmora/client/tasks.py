"""What answers are for what was asked: vectors, texts, scores, labels, images."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING, Any

from modelmora.client.values import Answer, Label, Ranked
from modelmora.errors import Invalid, MissingExtra
from modelmora.messages import Tensor
from modelmora.wire.tensors import BadTensor, to_nested

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image


def check_numpy() -> None:
    """Raises MissingExtra where numpy is not installed, before anything is asked."""
    try:
        import numpy  # noqa: F401
    except ImportError:
        raise MissingExtra("client", "embed(), which answers with a numpy array,") from None


def check_pillow() -> None:
    """Raises MissingExtra where pillow is not installed, before anything is asked."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        raise MissingExtra("client", "image(), which answers with a PIL image,") from None


def vectors_of(answer: Answer) -> np.ndarray[Any, Any]:
    """The vectors, float32 [n, dim]. Raises Invalid where the model answers with others."""
    import numpy

    rows = []
    for output in answer.outputs:
        if not (isinstance(output, Tensor) and output.dtype == "FP32" and all(output.shape)):
            raise _unsuited(answer, "vectors")
        rows.append(numpy.frombuffer(output.data, "<f4").reshape(-1, output.shape[-1]))
    if not rows:
        raise _unsuited(answer, "vectors")
    return numpy.concatenate(rows)


def text_of(answer: Answer) -> str:
    """The text. Raises Invalid where the model answers with something else."""
    if answer.outputs and isinstance(text := answer.outputs[0], str):
        return text
    raise _unsuited(answer, "text")


def ranked_of(answer: Answer, documents: int, most: int | None) -> list[Ranked]:
    """The best documents first. Raises Invalid where the model answers with no scores."""
    scores = _nested(answer, "scores", 1)
    if len(scores) != documents:
        raise _unsuited(answer, "score for each document")
    order = sorted(range(documents), key=lambda at: -scores[at])[:most]
    return [Ranked(at, scores[at]) for at in order]


def labels_of(answer: Answer) -> list[list[Label]]:
    """The labels of each input, the best first. Raises Invalid where it answers with none."""
    scores, words = _nested(answer, "scores", 2), _nested(answer, "labels", 2)
    rows = zip(words, scores, strict=False)
    return [[Label(*each) for each in zip(*row, strict=False)] for row in rows]


def image_of(answer: Answer) -> Image:
    """The image. Raises Invalid where the model answers with something else."""
    import PIL.Image

    if answer.outputs and isinstance(data := answer.outputs[0], bytes):
        try:
            return PIL.Image.open(BytesIO(data))
        except (OSError, PIL.Image.DecompressionBombError):
            pass
    raise _unsuited(answer, "image")


def _nested(answer: Answer, name: str, rank: int) -> list[Any]:
    """The elements of the tensor of that name. Raises Invalid."""
    for each in answer.outputs:
        if isinstance(each, Tensor) and each.name == name and len(each.shape) == rank:
            with suppress(BadTensor):
                found: list[Any] = to_nested(each)
                return found
    raise _unsuited(answer, name)


def _unsuited(answer: Answer, wanted: str) -> Invalid:
    return Invalid(f"{answer.model} answers with no {wanted}; ask it with infer()")
