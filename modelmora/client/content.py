"""What is asked and answered, as messages of gRPC and as values of Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelmora.errors import Invalid, MissingExtra
from modelmora.messages import ChatMessage, Content, ObjectRef, Parameter, Tensor
from modelmora.rpc.turns import message_of, turn_of
from modelmora.rpc.v1 import inference_pb2 as pb

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answered, one output for each input or as its task has it."""

    request_id: str
    model: str
    version: str
    outputs: tuple[Content, ...]


def request_of(
    request_id: str,
    model: str,
    inputs: Sequence[Content],
    parameters: Mapping[str, Parameter],
    priority: str,
) -> Any:
    """The message that asks. Raises Invalid for what no model takes."""
    if isinstance(inputs, str | bytes):
        raise Invalid("inputs: a list is needed, even for one")
    return pb.InferRequest(
        request_id=request_id,
        model=model,
        inputs=[_part(content) for content in inputs],
        parameters={name: _parameter(name, value) for name, value in parameters.items()},
        priority=priority,
    )


def _part(content: Content) -> Any:
    match content:
        case str():
            return pb.Content(text=content)
        case bytes():
            return pb.Content(data=content)
        case Tensor(name, dtype, shape, data):
            return pb.Content(tensor=pb.Tensor(name=name, dtype=dtype, shape=shape, data=data))
        case ChatMessage():
            return pb.Content(message=message_of(content))
    raise Invalid(f"inputs: {type(content).__name__} is no text, bytes, Tensor or ChatMessage")


def _parameter(name: str, value: Parameter) -> Any:
    match value:
        case None:
            return pb.Parameter()
        case bool():
            return pb.Parameter(bool_value=value)
        case int() if -(1 << 63) <= value < 1 << 63:
            return pb.Parameter(int_value=value)
        case float():
            return pb.Parameter(double_value=value)
        case str():
            return pb.Parameter(string_value=value)
        case list() | tuple() if all(isinstance(each, str) for each in value):
            return pb.Parameter(list_value=pb.StringList(values=value))
    raise Invalid(f"parameters.{name}: a number, text, truth value or list of texts is needed")


def answer_of(response: Any) -> Answer:
    """The answer in a message."""
    outputs = tuple(_content(part) for part in response.outputs)
    return Answer(response.request_id, response.model, response.version, outputs)


def _content(part: Any) -> Content:
    match part.WhichOneof("kind"):
        case "tensor":
            tensor = part.tensor
            return Tensor(tensor.name, tensor.dtype, tuple(tensor.shape), tensor.data)
        case "object":
            ref = part.object
            return ObjectRef(ref.uri, ref.sha256, ref.size, ref.media_type, ref.expires_at)
        case "message":
            return turn_of(part.message)
        case "data":
            return bytes(part.data)
    return str(part.text)


def check_numpy() -> None:
    """Raises MissingExtra where numpy is not installed, before anything is asked."""
    try:
        import numpy  # noqa: F401
    except ImportError:
        raise MissingExtra("engines", "embed(), which answers with a numpy array,") from None


def vectors_of(answer: Answer) -> np.ndarray[Any, Any]:
    """The vectors, float32 [n, dim]. Raises Invalid where the model answers with others."""
    import numpy

    rows = []
    for output in answer.outputs:
        if not isinstance(output, Tensor) or output.dtype != "FP32":
            raise Invalid(f"{answer.model} answers with no vectors; ask it with infer()")
        rows.append(numpy.frombuffer(output.data, "<f4").reshape(-1, output.shape[-1]))
    return numpy.concatenate(rows)
