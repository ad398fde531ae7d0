"""The kinds of request of `model.v1`: which models suit each, what they are sent, what they say."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from modelmora.errors import Code
from modelmora.gateway.choosing import Suit
from modelmora.gateway.doors.miraveja import drawing
from modelmora.gateway.doors.miraveja.images import uri_of
from modelmora.gateway.doors.miraveja.ratings import rating_of
from modelmora.gateway.outcomes import Refusal
from modelmora.messages import (
    Content,
    InferenceResult,
    ObjectRef,
    Parameter,
    RegistryRecord,
    SignedRef,
    Tensor,
)
from modelmora.rpc.miraveja import model_pb2 as pb
from modelmora.settings import Purposes
from modelmora.wire.tensors import BadTensor, to_nested

MOST_TAGS = 20
LEAST_SCORE = 0.1
"""What a classifier gives a label less than is no tag."""
MOST_LABELS = 100
TITLE_TOKENS = 48
EYES = Suit("txt2txt", eyes=True)
CLASSES = Suit("classify")
CAPTIONS = Suit("img2txt")
Images = tuple[Content, ...]
Sent = tuple[tuple[Content, ...], dict[str, Parameter]]
Send = Callable[[Any, Images, RegistryRecord, Purposes], Sent]
Tell = Callable[[InferenceResult, Any, Purposes], None]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of request; of several models that suit, the first suit comes first.

    `purpose` is how the settings call it, where they have words for it.
    """

    suits: tuple[Suit, ...]
    send: Send
    """The inputs and parameters of a request with its images, for that model. Raises Refusal."""
    tell: Tell
    """Puts an outcome into a response. Raises Refusal."""
    purpose: str = ""

    def model(self, named: str, purposes: Purposes) -> str:
        """The model that is asked for; empty where the task decides."""
        return named or getattr(purposes, f"{self.purpose}_model", None) or ""


def _text(request: Any, _: Images, __: RegistryRecord, ___: Purposes) -> Sent:
    return (request.text,), {}


def _image(_: Any, images: Images, __: RegistryRecord, ___: Purposes) -> Sent:
    return images, {}


def _prompt(request: Any, _: Images, __: RegistryRecord, ___: Purposes) -> Sent:
    return (request.parameters.prompt,), drawing.parameters_of(request.parameters)


def _looking(purpose: str, **more: Parameter) -> Send:
    """An image, behind what a model that reads is asked; the same image gets the same words."""

    def send(_: Any, images: Images, record: RegistryRecord, purposes: Purposes) -> Sent:
        if record.task == CLASSES.task:
            return images, {"top_k": MOST_TAGS}
        if record.task != EYES.task:
            return images, {}
        return (getattr(purposes, f"{purpose}_prompt"), *images), {"temperature": 0, **more}

    return send


def _rated(_: Any, images: Images, __: RegistryRecord, ___: Purposes) -> Sent:
    return images, {"top_k": MOST_LABELS}


def _post(_: Any, images: Images, __: RegistryRecord, purposes: Purposes) -> Sent:
    if not images:
        raise Refusal(Code.INVALID_INPUT, "image_uris: one at least is needed")
    return (purposes.post_text_prompt, *images), {}


def uris_of(request: Any) -> tuple[str, ...]:
    """The images that a request names."""
    known = request.DESCRIPTOR.fields_by_name
    if "image_uri" in known:
        return (request.image_uri,)
    return tuple(request.image_uris) if "image_uris" in known else ()


def _vector(result: InferenceResult, response: Any, _: Purposes) -> None:
    match result.outputs:
        case (Tensor(dtype="FP32", shape=(1, _), data=data),):
            response.embedding_vectors.extend(memoryview(data).cast("f"))
        case _:
            raise _unsuited(result, "answers no vector")


def _drawn(result: InferenceResult, response: Any, _: Purposes) -> None:
    drawing.tell(result.settings, response.parameters)
    match result.outputs:
        case (bytes() as image,):
            response.image_uri = uri_of(image)
        case (SignedRef(url=url),):
            response.image_uri = url
        case (ObjectRef(uri=uri),):
            response.image_uri = uri
        case _:
            raise _unsuited(result, "answers no image")


def _words(
    field: str, make: Callable[[str], str]
) -> Callable[[InferenceResult, Any, Purposes], None]:
    def tell(result: InferenceResult, response: Any, _: Purposes) -> None:
        setattr(response, field, make(_said(result)))

    return tell


def _tagged(result: InferenceResult, response: Any, _: Purposes) -> None:
    if result.outputs and isinstance(result.outputs[0], str):
        tags = tags_in(result.outputs[0])
    else:
        tags = [label for label, score in _labels(result) if score >= LEAST_SCORE]
    response.tags.extend(tags)


def _rating(result: InferenceResult, response: Any, purposes: Purposes) -> None:
    known = (rating_of(label, purposes.safety_labels) for label, _ in _labels(result))
    rating = next((each for each in known if each), None)
    if rating is None:
        raise _unsuited(result, "has no label that is a rating; see purposes.safety_labels")
    response.nsfw_score = pb.NSFWScore.Value(f"NSFW_SCORE_{rating}")


def title_in(text: str) -> str:
    """The first line that says anything, without quotes or marks around it."""
    return next((line for each in text.splitlines() if (line := each.strip(" \t\"'“”*#"))), "")


def tags_in(text: str) -> list[str]:
    """Each tag once: what stands between commas and lines, without marks before it."""
    found: dict[str, str] = {}
    for each in re.split(r"[,;\n]", text):
        if tag := re.sub(r"^[\s#*•-]+|[\s.]+$", "", each):
            found.setdefault(tag.casefold(), tag)
    return [*found.values()]


def _said(result: InferenceResult) -> str:
    if result.outputs and isinstance(result.outputs[0], str):
        return result.outputs[0]
    raise _unsuited(result, "answers no text")


def _labels(result: InferenceResult) -> list[tuple[str, float]]:
    """The labels of an image with their scores, the best first. Raises Refusal."""
    tensors = {each.name: each for each in result.outputs if isinstance(each, Tensor)}
    try:
        ((scores,), (labels,)) = (to_nested(tensors[name]) for name in ("scores", "labels"))
        return [(str(label), float(score)) for label, score in zip(labels, scores, strict=True)]
    except (KeyError, ValueError, TypeError, BadTensor):
        raise _unsuited(result, "answers no labels") from None


def _unsuited(result: InferenceResult, why: str) -> Refusal:
    return Refusal(Code.INVALID_INPUT, f"{result.model} {why}", request_id=result.request_id)


KINDS: Mapping[Any, Kind] = {
    pb.TextEmbeddingRequest: Kind((Suit("txt2embed"),), _text, _vector),
    pb.ImageEmbeddingRequest: Kind((Suit("img2embed"),), _image, _vector),
    pb.ImageGenerationRequest: Kind((Suit("txt2img"),), _prompt, _drawn),
    pb.ImageCaptionRequest: Kind(
        (CAPTIONS, EYES), _looking("caption"), _words("description", str.strip), "caption"
    ),
    pb.ImageTitleRequest: Kind(
        (EYES, CAPTIONS),
        _looking("title", max_tokens=TITLE_TOKENS),
        _words("title", title_in),
        "title",
    ),
    pb.ImageTaggingRequest: Kind((EYES, CLASSES), _looking("tags"), _tagged, "tags"),
    pb.ImageSafetyRequest: Kind((CLASSES,), _rated, _rating, "safety"),
    pb.PostTextRequest: Kind((EYES,), _post, _words("post_text", str.strip), "post_text"),
}
