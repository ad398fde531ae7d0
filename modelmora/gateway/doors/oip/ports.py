"""What a model takes and gives as named tensors: by its task, or as its graph tells."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import orjson

from modelmora.errors import Code
from modelmora.gateway.outcomes import Refusal
from modelmora.messages import Content, RegistryRecord, Tensor
from modelmora.records.facts import facts_of
from modelmora.text import printable, shorten
from modelmora.wire.forms import content_form
from modelmora.wire.tensors import DTYPES, elements, framed

ANY = -1
SHOWN = 100
GRAPH = "tensor"
"""The task whose models take and give tensors as they are."""


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output; a size is ANY where any will do."""

    name: str
    datatype: str
    shape: tuple[int, ...] = (ANY,)

    def __str__(self) -> str:
        return f"{shorten(printable(self.name), SHOWN)} {self.datatype} {[*self.shape]}"


@dataclass(frozen=True, slots=True)
class Ports:
    """All of a model; `either`: one of its inputs is enough."""

    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()
    either: bool = False


TEXT, IMAGE, BYTES = (Port(name, "BYTES") for name in ("text", "image", "bytes"))
_SCORES = Port("scores", "FP32", (ANY, ANY))
_VECTORS = Port("embedding", "FP32", (ANY, ANY))
_TASKS: Mapping[str, Ports] = {
    "txt2embed": Ports((TEXT,), (_VECTORS,)),
    "txt2txt": Ports((replace(TEXT, shape=(1,)),), (TEXT,)),
    "classify": Ports((TEXT, IMAGE), (_SCORES, Port("labels", "BYTES", (ANY, ANY))), either=True),
    "rerank": Ports((Port("query", "BYTES", (1,)), TEXT), (replace(_SCORES, shape=(ANY,)),)),
    "img2embed": Ports((TEXT, IMAGE), (_VECTORS,), either=True),
    "img2txt": Ports((IMAGE,), (TEXT,)),
    "txt2img": Ports((TEXT,), (IMAGE,)),
}
_PORT = re.compile(rf"([^;…]+) ({'|'.join(DTYPES)}) (?:\[(.*)\]|of any shape)")


def ports_of(record: RegistryRecord) -> Ports:
    """As far as they are known of a model; a task that is not ours tells nothing."""
    facts = facts_of(record)
    if record.task == GRAPH:
        return Ports(_of_graph(facts.get("inputs")), _of_graph(facts.get("outputs")))
    ports = _TASKS.get(record.task, Ports())
    width = facts.get("dimension")
    if ports.outputs == (_VECTORS,) and isinstance(width, int) and width > 0:
        return replace(ports, outputs=(replace(_VECTORS, shape=(ANY, width)),))
    return ports


def _of_graph(told: object) -> tuple[Port, ...]:
    """The ports in a fact of a graph, `x FP32 [batch, 3]; …`; none where it is cut short."""
    if not isinstance(told, str):
        return ()
    found = [_PORT.fullmatch(each) for each in told.split("; ")]
    return tuple(
        Port(match[1], match[2], _sizes(match[3])) for match in found if match and all(found)
    )


def _sizes(told: str | None) -> tuple[int, ...]:
    if told is None:
        return (ANY,)
    sizes = told.split(", ") if told else []
    return tuple(int(size) if size.isdecimal() else ANY for size in sizes)


def contents_of(task: str, tensors: Sequence[Tensor]) -> tuple[Content, ...]:
    """The inputs of a request; raises Refusal where the task takes others.

    An element of `text` or `query` is a text, one of `image` or `bytes` is bytes. Of a task that
    is not ours all other tensors stay what they are.
    """
    if task == GRAPH:
        return tuple(tensors)
    ports = _TASKS.get(task)
    if ports is None:
        return tuple(content for each in tensors for content in _unpacked(each))
    given = {each.name: each for each in tensors}
    known = {port.name for port in ports.inputs}
    fits = given.keys() <= known and len(given) == len(tensors)
    if not (fits and (ports.either or given.keys() == known)):
        raise _unsuited(ports.inputs, ports.either)
    if any(each.datatype != given[each.name].dtype for each in ports.inputs if each.name in given):
        raise _unsuited(ports.inputs, ports.either)
    named = [given[port.name] for port in ports.inputs if port.name in given]
    return tuple(content for each in named for content in _unpacked(each))


def _unsuited(ports: Iterable[Port], either: bool) -> Refusal:
    words = (" or " if either else ", ").join(map(str, ports))
    return Refusal(Code.INVALID_INPUT, f"inputs: the model takes {words}")


def _unpacked(tensor: Tensor) -> Iterable[Content]:
    if tensor.dtype != "BYTES" or tensor.name not in ("text", "query", "image", "bytes"):
        return (tensor,)
    if tensor.name in ("image", "bytes"):
        return elements(tensor.data)
    try:
        return [each.decode() for each in elements(tensor.data)]
    except UnicodeDecodeError:
        raise Refusal(Code.INVALID_INPUT, f"{tensor.name}: an element is not UTF-8") from None


def tensors_of(task: str, outputs: Sequence[Content]) -> tuple[Tensor, ...]:
    """The outputs of a result as tensors: texts are one, and so are all that are bytes."""
    images = IMAGE in _TASKS.get(task, Ports()).outputs
    found: list[Tensor] = []
    packed: dict[str, list[bytes]] = {}
    for content in outputs:
        match content:
            case Tensor():
                found.append(content)
            case str():
                packed.setdefault(TEXT.name, []).append(content.encode())
            case bytes():
                packed.setdefault((IMAGE if images else BYTES).name, []).append(content)
            case _:
                packed.setdefault("json", []).append(orjson.dumps(content_form(content)))
    for name, items in packed.items():
        data = b"".join(map(framed, items))
        found.append(Tensor(name, "BYTES", (len(items),), data))
    return tuple(found)
