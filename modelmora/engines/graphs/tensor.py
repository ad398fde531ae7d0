"""The engine of `tensor`: named tensors in and out of an ONNX graph, as they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modelmora.engines.base import Engine, Plan, Row
from modelmora.engines.graphs.graph import Graph, Port, named, read_graph
from modelmora.engines.graphs.session import Session
from modelmora.engines.options import option
from modelmora.errors import Code, RequestError
from modelmora.messages import Content, InferenceRequest, Parameter, Tensor
from modelmora.text import shorten
from modelmora.wire.tensors import BadTensor, check_tensor, elements, framed

_NUMPY = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
_OIP = {np.dtype(code): name for name, code in _NUMPY.items()}
BATCH = 32


class Tensors(Engine):
    """One graph.

    Options: `batch` (how much of the first axis is computed at once where requests can be joined;
    1: never join them) and those of `Session`.
    """

    _graph: Graph
    _session: Session

    def load(self, path: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Facts: inputs, outputs, providers, joined (whether requests are). Raises LoadError."""
        self._graph = read_graph(path)
        self._session = Session(self._graph, options)
        batch = option(options, "batch", BATCH)
        self._batch = batch if can_be_joined(self._graph) else 1
        return {
            "inputs": named(self._graph.inputs),
            "outputs": named(self._graph.outputs),
            "providers": ", ".join(self._session.providers),
            "joined": self._batch > 1,
        }

    def use_threads(self, count: int) -> None:
        """Compute with this many CPU threads."""
        self._session.use_threads(count)

    def plan(
        self,
        requests: Sequence[tuple[int, InferenceRequest]],
        parameters: Mapping[str, Parameter],
    ) -> Plan:
        """A request is a row; those whose shapes agree beyond the first axis are joined."""
        plan = Plan()
        alike: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
        for index, request in requests:
            try:
                arrays = take(self._graph.inputs, request.inputs)
            except RequestError as error:
                plan.refused.append((index, error))
                continue
            if self._batch == 1:
                plan.batches.append([Row(index, 0, arrays)])
                continue
            rows = len(next(iter(arrays.values())))
            shapes = tuple(array.shape[1:] for array in arrays.values())
            alike[shapes].append(Row(index, 0, arrays, max(1, rows)))
        for rows_alike in alike.values():
            plan.batches += _packed(rows_alike, self._batch)
        return plan

    def run(self, rows: Sequence[Row], parameters: Mapping[str, Parameter]) -> Sequence[Any]:
        """The outputs of each request, in the graph's order."""
        if len(rows) == 1:
            return [self._session.run(rows[0].data)]
        feeds = {
            port.name: np.concatenate([row.data[port.name] for row in rows])
            for port in self._graph.inputs
        }
        first = self._graph.inputs[0].name
        ends = np.cumsum([len(row.data[first]) for row in rows])
        outputs = self._session.run(feeds)
        if any(len(output) != ends[-1] for output in outputs):
            raise ValueError("the first axis of an output is not that of the inputs")
        cut = [np.split(output, ends[:-1]) for output in outputs]
        return [[pieces[i] for pieces in cut] for i in range(len(rows))]

    def finish(self, request: InferenceRequest, parts: Sequence[Any]) -> Sequence[Content]:
        """One tensor for each output of the graph."""
        return [
            give(port.name, array)
            for port, array in zip(self._graph.outputs, parts[0], strict=True)
        ]


def can_be_joined(graph: Graph) -> bool:
    """Whether the first axis of all inputs and outputs has one and the same name.

    Then its exporter says that it is one axis of any size, which is what a batch is.
    """
    ports = (*graph.inputs, *graph.outputs)
    first = {port.shape[0] if port.shape else None for port in ports}
    return bool(graph.inputs) and len(first) == 1 and isinstance(first.pop(), str)


def _packed(rows: Sequence[Row], most: int) -> list[list[Row]]:
    """Rows in their order, in batches of at most `most` together, or one of more."""
    batches: list[list[Row]] = []
    room = 0
    for row in rows:
        if row.cost > room:
            batches.append([])
            room = most
        batches[-1].append(row)
        room -= row.cost
    return batches


def take(ports: Sequence[Port], inputs: Sequence[Content]) -> dict[str, Any]:
    """The arrays of a request by their names. Raises RequestError that says what is wanted."""
    given: dict[str, Tensor] = {}
    for content in inputs:
        if not isinstance(content, Tensor):
            raise _refused(f"an input is {type(content).__name__}, and not a tensor", ports)
        if content.name in given:
            raise _refused(f"two inputs are named {content.name[:40]!r}", ports)
        given[content.name] = content
    wanted = {port.name: port for port in ports}
    if missing := [name for name in wanted if name not in given]:
        raise _refused(f"there is no input {missing[0][:40]!r}", ports)
    if surplus := [name for name in given if name not in wanted]:
        raise _refused(f"the model has no input {surplus[0][:40]!r}", ports)
    sizes: dict[str, int] = {}
    return {name: _array(port, given[name], sizes) for name, port in wanted.items()}


def _array(port: Port, tensor: Tensor, sizes: dict[str, int]) -> Any:
    """The array of a tensor; `sizes` are those of the named axes so far."""
    if tensor.dtype != port.dtype or not _fits(port, tensor.shape, sizes):
        given = f"{tensor.name[:40]!r} is {tensor.dtype[:10]} {list(tensor.shape)}"
        raise _refused(shorten(given, 120), [port])
    try:
        check_tensor(tensor)
        if port.dtype == "BYTES":
            words = [element.decode() for element in elements(tensor.data)]
            return np.array(words, dtype=object).reshape(tensor.shape)
    except BadTensor as error:
        raise _refused(f"{port.name[:40]!r}: {error}", [port]) from None
    except UnicodeDecodeError:
        raise _refused(f"{port.name[:40]!r} has elements that are no UTF-8", [port]) from None
    if port.dtype == "BOOL":
        return np.frombuffer(tensor.data, "u1").reshape(tensor.shape) != 0
    return np.frombuffer(tensor.data, _NUMPY[port.dtype]).reshape(tensor.shape)


def _fits(port: Port, shape: Sequence[int], sizes: dict[str, int]) -> bool:
    """Whether a shape is that of the port, with one size for each name of an axis."""
    if port.shape is None:
        return True
    if len(port.shape) != len(shape):
        return False
    for told, size in zip(port.shape, shape, strict=True):
        if isinstance(told, int):
            known = told
        else:
            known = sizes.setdefault(told, size) if told != "?" else size
        if size != known:
            return False
    return True


def _refused(fault: str, ports: Sequence[Port]) -> RequestError:
    wants = shorten(named(ports), 300)
    return RequestError(Code.INVALID_INPUT, f"{fault}; the model takes {wants}")


def give(name: str, array: Any) -> Tensor:
    """The tensor of an array."""
    if array.dtype == object:
        data = b"".join(framed(str(word).encode()) for word in array.reshape(-1))
        return Tensor(name, "BYTES", array.shape, data)
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return Tensor(name, _OIP[np.dtype(little.dtype)], array.shape, little.tobytes())
