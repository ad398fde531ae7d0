"""The protocol's bodies over HTTP: JSON, and behind it the bytes of tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import orjson
from pydantic import Field, StrictBool, StrictStr, WithJsonSchema, model_validator

from modelmora.errors import Code
from modelmora.gateway.doors.oip.asking import Answered, Asked
from modelmora.gateway.doors.rest.bodies import read_body
from modelmora.gateway.outcomes import Refusal
from modelmora.messages import Parameter, Tensor
from modelmora.wire.forms import JsonParameter, Long, Part
from modelmora.wire.tensors import DTYPES, BadTensor, check_tensor, from_nested, to_nested

SIZE = "binary_data_size"
WANTED = "binary_data"
ALL_WANTED = "binary_data_output"
_UNSERVED = ("classification", "shared_memory_region")
Datatype = Annotated[StrictStr, WithJsonSchema({"type": "string", "enum": list(DTYPES)})]


class Told(Part):
    """An object of JSON; members that are null are not told."""

    @model_validator(mode="before")
    @classmethod
    def _told(cls, found: Any) -> Any:
        if isinstance(found, dict):
            return {name: value for name, value in found.items() if value is not None}
        return found


class Named(Told):
    """A tensor by its name."""

    name: StrictStr
    parameters: dict[StrictStr, JsonParameter] = Field(default={})


class InputTensor(Named):
    """A tensor; its data are here, flat or nested, or `binary_data_size` bytes behind the JSON."""

    datatype: Datatype
    shape: list[Annotated[Long, Field(ge=0)]]
    data: list[Any] | None = None


class OutputWanted(Named):
    """An output that is wanted; with `binary_data` as bytes behind the JSON."""


class OipInferBody(Told):
    """What `POST /v2/models/{model_name}/infer` reads."""

    id: StrictStr = Field("", description="Told back; a UUID names the request, see the guide.")
    parameters: dict[StrictStr, JsonParameter] = Field(
        default={},
        description="Those of the model; `priority` (1 the most urgent), `timeout` (microseconds).",
    )
    inputs: Annotated[list[InputTensor], Field(min_length=1)]
    outputs: list[OutputWanted] = Field(default=[], description="Empty: all of the model's.")


class OipIndexBody(Told):
    """What `POST /v2/repository/index` reads."""

    ready: StrictBool = Field(False, description="Only models that are in memory.")


class OipOrderBody(Told):
    """What loads and unloads read; parameters other than `unload_dependents` are refused."""

    parameters: dict[StrictStr, JsonParameter] = Field(default={})


@dataclass(frozen=True, slots=True)
class Binary:
    """Which outputs go behind the JSON: those named, else all or none."""

    named: Mapping[str, bool]
    others: bool

    def takes(self, name: str) -> bool:
        """Whether this one does."""
        return self.named.get(name, self.others)


def read_infer(raw: bytearray, head: str | None, model: str, version: str) -> tuple[Asked, Binary]:
    """The request in a body whose first `head` bytes are JSON, all of them where it is None.

    Raises Refusal that names the field, never its content.
    """
    length = _length(head, len(raw))
    body = read_body(OipInferBody, raw[:length] if length < len(raw) else raw)
    parameters = _settings(body.parameters)
    others = parameters.pop(ALL_WANTED, False) is True
    tensors: list[Named] = [*body.inputs, *body.outputs]
    for each in tensors:
        if extension := next((name for name in _UNSERVED if name in each.parameters), None):
            raise Refusal(Code.INVALID_INPUT, f"{extension}: is an extension that is not served")
    named = {out.name: bool(out.parameters.get(WANTED, others)) for out in body.outputs}
    asked = Asked(
        model,
        version,
        body.id,
        _tensors(body, memoryview(raw)[length:]),
        tuple(named),
        parameters,
    )
    return asked, Binary(named, others)


def _length(head: str | None, there: int) -> int:
    if head is None:
        return there
    if not (head.isascii() and head.isdecimal() and len(head) < 12 and int(head) <= there):
        message = "Inference-Header-Content-Length: is how many bytes of the body are JSON"
        raise Refusal(Code.INVALID_INPUT, message)
    return int(head)


def _settings(given: Mapping[str, Any]) -> dict[str, Parameter]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}


def _tensors(body: OipInferBody, behind: memoryview) -> tuple[Tensor, ...]:
    found: list[Tensor] = []
    at = 0
    for number, each in enumerate(body.inputs):
        size = each.parameters.get(SIZE)
        try:
            if size is None:
                if each.data is None:
                    raise BadTensor(f"neither data nor {SIZE} is told")
                found.append(from_nested(each.name, each.datatype, each.shape, each.data))
                continue
            if each.data is not None:
                raise BadTensor(f"both data and {SIZE} are told")
            if isinstance(size, bool) or not isinstance(size, int) or size < 0:
                raise BadTensor(f"{SIZE} is a whole number of bytes")
            data = bytes(behind[at : at + size])
            at += size
            if at > len(behind):
                raise BadTensor(f"{SIZE} asks for more bytes than the body has")
            shape = tuple(each.shape)
            found.append(check_tensor(Tensor(each.name, each.datatype, shape, data)))
        except BadTensor as error:
            raise Refusal(Code.INVALID_INPUT, f"inputs.{number}: {error}") from None
    if at < len(behind):
        message = f"the body has {len(behind) - at} bytes behind its JSON that no input asks for"
        raise Refusal(Code.INVALID_INPUT, message)
    return tuple(found)


def write_infer(answered: Answered, binary: Binary) -> tuple[bytes, int | None]:
    """The body of an answer; how long its JSON is where bytes follow, else None.

    Raises BadTensor for outputs that are broken.
    """
    outputs: list[dict[str, Any]] = []
    behind: list[bytes] = []
    for each in answered.outputs:
        told: dict[str, Any] = {"name": each.name, "datatype": each.dtype, "shape": each.shape}
        if binary.takes(each.name):
            told["parameters"] = {SIZE: len(each.data)}
            behind.append(each.data)
        else:
            check_tensor(each)
            told["data"] = to_nested(replace(each, shape=(math.prod(each.shape),)))
        outputs.append(told)
    told = {
        "model_name": answered.model,
        "model_version": answered.version,
        "id": answered.id,
        "outputs": outputs,
    }
    if answered.parameters:
        told["parameters"] = answered.parameters
    head = orjson.dumps(told)
    return b"".join((head, *behind)), len(head) if behind else None
