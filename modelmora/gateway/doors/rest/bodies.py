"""The bodies of REST: what is read from JSON, and its description."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
)

from modelmora.errors import Code, RequestError
from modelmora.gateway.hall import LANES, MOST_WAIT_S, Ask, Wish
from modelmora.gateway.outcomes import Refusal
from modelmora.messages import ControlVerb
from modelmora.settings.section import EXACTLY
from modelmora.wire.forms import Part, RequestForm
from modelmora.wire.strict import fault, parse

LaneName = Literal["critical", "high", "normal", "low"]
B = TypeVar("B", bound=BaseModel)


class InferBody(RequestForm):
    """What `POST /infer/{model_name}` reads."""

    priority: LaneName = Field(
        "normal", description="The lane: `critical`, `high`, `normal` or `low`."
    )


class OrderBody(Part):
    """What an order reads; `{}` is enough."""

    wait_s: StrictInt | StrictFloat = Field(
        0, ge=0, le=MOST_WAIT_S, description="For the end of it; 0: until the command is written."
    )
    everywhere: StrictBool = Field(
        False, description="To load: on every node that serves the model, not on one."
    )


class ObjectBody(Part):
    """Content that is about to be put."""

    media_type: StrictStr = Field(
        "application/octet-stream",
        description="What it is: a `text/…` becomes a text, "
        "`application/vnd.modelmora.tensor` a tensor, all else bytes.",
    )
    size: StrictInt = Field(description="Its bytes.")
    sha256: StrictStr = Field(description="Their SHA-256, 64 of 0-9 a-f.")


def read_ask(
    model: str, raw: bytes | bytearray, *, request_id: str | None, traceparent: str
) -> Ask:
    """The request in a body; raises Refusal that names the field, never its content."""
    body = read_body(InferBody, raw)
    try:
        inputs = body.contents()
    except RequestError as error:
        raise Refusal(error.code, error.message) from None
    return Ask(
        "rest",
        model,
        inputs,
        parameters=body.settings(),
        lane=LANES[body.priority],
        timeout_ms=body.timeout_ms,
        progress=body.progress,
        request_id=request_id,
        traceparent=traceparent,
    )


def read_wish(verb: ControlVerb, model: str, raw: bytes | bytearray) -> Wish:
    """The order in a body; raises Refusal that names the field."""
    body = read_body(OrderBody, raw)
    return Wish(verb, model, float(body.wait_s), body.everywhere)


def read_body(
    kind: type[B], raw: bytes | bytearray, passed_over: frozenset[str] = frozenset()
) -> B:
    """A body of that kind, without the members that are passed over. Raises Refusal."""
    return checked(kind, read_json(raw), passed_over)


def checked(kind: type[B], found: Any, passed_over: frozenset[str] = frozenset()) -> B:
    """What was found in a body as that kind. Raises Refusal that names the field."""
    if passed_over and isinstance(found, dict):
        found = {name: value for name, value in found.items() if name not in passed_over}
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        raise Refusal(Code.INVALID_INPUT, fault(error, kind)) from None


def strictly(kind: type[B], found: Any) -> B:
    """What was found in a body that sets something: "600" is no number there. Raises Refusal.

    Settings take numbers as text, since variables of the environment are nothing else.
    """
    try:
        return kind.model_validate(found, context=EXACTLY)
    except ValidationError as error:
        raise Refusal(Code.INVALID_INPUT, fault(error, kind)) from None


def read_json(raw: bytes | bytearray) -> Any:
    """The JSON in a body. Raises Refusal."""
    try:
        return parse(raw)
    except RequestError as error:
        raise Refusal(error.code, error.message) from None
