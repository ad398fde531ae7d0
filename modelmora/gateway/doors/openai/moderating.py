"""Moderation over a classifier: which of its labels flag what was sent, in OpenAI's shape."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field, StrictBool, StrictStr

from modelmora.errors import Code
from modelmora.gateway.doors.openai.answers import numbers
from modelmora.gateway.doors.openai.bodies import MOST_TEXTS, Asking, Number
from modelmora.gateway.doors.openai.parts import Part, image
from modelmora.gateway.outcomes import Refusal
from modelmora.messages import Content, InferenceResult, Parameter, Tensor
from modelmora.wire.tensors import BadTensor, to_nested

ALL_LABELS = 1 << 20
THRESHOLD = 0.5
HARMLESS = frozenset(
    {"benign", "clean", "ham", "harmless", "neither", "neutral", "none"}
    | {"nontoxic", "normal", "ok", "okay", "safe", "sfw"}
)
_NEGATED = re.compile(r"(?:no|non|not) (.*)")
_GOOD = re.compile(r"(?:safe|sfw|ok|okay|normal|consensual|clean)\b")
"""What a label that negates it finds wanting, as `not safe for work`."""
_GAP = re.compile(r"[\s_\-/]+")


class ModerationBody(Asking):
    """What `POST /v1/moderations` reads; a list of parts is one input, judged as a whole."""

    task: ClassVar[str] = "classify"
    input: (
        StrictStr
        | Annotated[list[StrictStr], Field(min_length=1, max_length=MOST_TEXTS)]
        | Annotated[list[Part], Field(min_length=1, max_length=MOST_TEXTS)]
    )
    threshold: Annotated[Number, Field(ge=0, le=1)] | None = None
    truncate: StrictBool | None = None

    def contents(self) -> tuple[Content, ...]:
        """What is to be judged: texts, and images as bytes. Raises Refusal."""
        if isinstance(self.input, str):
            return (self.input,)
        given: Sequence[str | Part] = self.input
        return tuple(_content(place, each) for place, each in enumerate(given))

    @property
    def together(self) -> bool:
        """Whether all contents are one input."""
        return not isinstance(self.input, str) and isinstance(self.input[0], Part)

    def parameters(self) -> dict[str, Parameter]:
        """All labels, not only the best."""
        cut: dict[str, Parameter] = {} if self.truncate is None else {"truncate": self.truncate}
        return {"top_k": ALL_LABELS} | cut


def _content(place: int, given: str | Part) -> Content:
    if isinstance(given, str):
        return given
    return given.text if given.type == "text" else image(f"input.{place}", given)


@dataclass(frozen=True, slots=True)
class Rule:
    """From which score a label flags, and the labels that never do, beside `HARMLESS`."""

    threshold: float = THRESHOLD
    harmless: frozenset[str] = frozenset()

    @staticmethod
    def of(facts: Mapping[str, Any], asked: float | None) -> Rule:
        """The rule of a model by its metadata, with the threshold that was asked for, if one was.

        Metadata `moderation_threshold` is a number from 0 to 1, `moderation_harmless` a label or
        a list of them.
        """
        told, named = facts.get("moderation_threshold"), facts.get("moderation_harmless")
        harmless = named if isinstance(named, list | tuple) else [named] if named else []
        if asked is None:
            asked = THRESHOLD
            if isinstance(told, int | float) and not isinstance(told, bool) and 0 <= told <= 1:
                asked = told
        return Rule(asked, frozenset(_plain(str(each)) for each in harmless))

    def flags(self, label: str, score: float) -> bool:
        """Whether this label, with this score, flags what was sent."""
        plain = _plain(label)
        denied = _NEGATED.fullmatch(plain)
        harmless = not _GOOD.match(denied[1]) if denied else plain in HARMLESS
        return score >= self.threshold and not (harmless or plain in self.harmless)


def moderated(result: InferenceResult, body: ModerationBody, rule: Rule) -> dict[str, Any]:
    """A verdict for each input. Raises Refusal."""
    contents = body.contents()
    scored = _scored(result)
    if len(scored) != len(contents):
        raise _unsuited(result)
    if body.together:
        judged = [(_highest(scored), contents)]
    else:
        judged = [(each, (content,)) for each, content in zip(scored, contents, strict=True)]
    return {
        "id": f"modr-{result.request_id}",
        "model": result.model,
        "results": [_verdict(scores, rule, of) for scores, of in judged],
    }


def _verdict(
    scores: Mapping[str, float], rule: Rule, contents: Sequence[Content]
) -> dict[str, Any]:
    categories = {label: rule.flags(label, score) for label, score in scores.items()}
    kinds = sorted({"text" if isinstance(each, str) else "image" for each in contents})
    return {
        "flagged": any(categories.values()),
        "categories": categories,
        "category_scores": dict(scores),
        "category_applied_input_types": dict.fromkeys(scores, kinds),
    }


def _scored(result: InferenceResult) -> list[dict[str, float]]:
    """The score of each label, the highest first, for each input. Raises Refusal."""
    match result.outputs:
        case [Tensor(dtype="FP32") as scores, Tensor(dtype="BYTES") as labels] if (
            len(scores.shape) == 2 and scores.shape == labels.shape
        ):
            try:
                rows = zip(to_nested(labels), numbers(result, scores), strict=True)
                return [dict(zip(map(str, names), row, strict=True)) for names, row in rows]
            except BadTensor:
                pass
    raise _unsuited(result)


def _highest(scored: Sequence[Mapping[str, float]]) -> dict[str, float]:
    labels = dict.fromkeys(label for each in scored for label in each)
    return {label: max(each.get(label, 0.0) for each in scored) for label in labels}


def _plain(label: str) -> str:
    return _GAP.sub(" ", label.strip()).casefold()


def _unsuited(result: InferenceResult) -> Refusal:
    message = f"{result.model} answers no labels; ask a model of task classify"
    return Refusal(Code.INVALID_INPUT, message, request_id=result.request_id)
