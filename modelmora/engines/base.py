"""What an engine is: a batch engine plans, runs, finishes; a stepped one adds, steps, removes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from modelmora.errors import Code, ModelMoraError, RequestError
from modelmora.kafka.sizes import check_inputs, inputs_that_fit
from modelmora.messages import Content, InferenceRequest, Parameter

# What torch and the libraries below it say where it is no error of its own kind.
_NO_MEMORY = ("DefaultCPUAllocator", "CUDA error: out of memory", "_STATUS_ALLOC_FAILED")


class LoadError(ModelMoraError):
    """A model cannot be loaded; `code` says whether trying again may help.

    `cannot_be_served`: not before its files have been changed. `model_unavailable`: after a while.
    """

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(slots=True, eq=False)
class Row:
    """One unit of work: part `part` of the request with index `index` in its group.

    `cost` is in the engine's own unit (tokens for text); costs are compared, never shown. `tokens`
    are those it reads, known once it has run, which its caller is told as `prompt_tokens`; 0 where
    nobody counts.
    """

    index: int
    part: int
    data: Any
    cost: int = 1
    tokens: int = 0


@dataclass(slots=True)
class Plan:
    """The micro-batches of a group in the order to run, and the requests that are refused."""

    batches: list[list[Row]] = field(default_factory=list)
    refused: list[tuple[int, RequestError]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Outputs:
    """The outputs of a request, and those settings that are not simply what was asked."""

    contents: Sequence[Content]
    settings: Mapping[str, Parameter] = field(default_factory=dict)


class Withdrawn(Exception):
    """Nobody waits for any of these rows any more: stop computing them."""


class OnStep(Protocol):
    """What an engine calls between the steps of one `run`, if it computes in steps."""

    def __call__(self, rows: Sequence[Row], done: int, total: int) -> None:
        """`done` of `total` steps are computed. Raises Withdrawn, to be passed on."""
        ...


class Engine(Protocol):
    """One model in one process, group by group. Only `load` and `run` may take long.

    While it runs it finds an `OnStep` in its attribute `on_step`: for those who compute in steps.
    Where its attribute `pads` is true, each row of a batch costs as much as the longest of them.
    """

    def load(self, path: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Read the model; returns facts about it. Raises LoadError."""
        ...

    def use_threads(self, count: int) -> None:
        """Compute with this many CPU threads from now on."""
        ...

    def plan(
        self,
        requests: Sequence[tuple[int, InferenceRequest]],
        parameters: Mapping[str, Parameter],
    ) -> Plan:
        """Check the requests of a group and cut them into micro-batches of rows.

        A request without rows that is not refused is answered by `finish` at once.
        """
        ...

    def run(self, rows: Sequence[Row], parameters: Mapping[str, Parameter]) -> Sequence[Any]:
        """One output per row. Whatever it raises is tried again with fewer rows."""
        ...

    def finish(
        self, request: InferenceRequest, parts: Sequence[Any]
    ) -> Sequence[Content] | Outputs:
        """The outputs of a request from its rows' outputs, in the order of the parts."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """What a step gave one request: more of its output, or its end (`outputs` or `error`).

    `chunk` continues what earlier steps gave. `settings`, told at the end, are as in `Outputs`.
    """

    key: int
    chunk: str | None = None
    outputs: Sequence[Content] | None = None
    error: RequestError | None = None
    settings: Mapping[str, Parameter] = field(default_factory=dict)


@runtime_checkable
class SteppedEngine(Protocol):
    """One model in one process, whose requests join and leave between steps.

    `load` and `use_threads` are those of `Engine`. A request that has not ended is stepped until
    it has, or is removed.
    """

    slots: int
    """How many requests it steps at once, known after `load`."""

    def load(self, path: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Read the model; returns facts about it. Raises LoadError."""
        ...

    def use_threads(self, count: int) -> None:
        """Compute with this many CPU threads from now on."""
        ...

    def add(self, key: int, request: InferenceRequest, parameters: Mapping[str, Parameter]) -> None:
        """Take in a request under a key of the caller's. Raises RequestError."""
        ...

    def step(self) -> Sequence[Step]:
        """Advance all requests by one step, about 0.1 s at most; never waits for new ones.

        Raises only what concerns all of them, such as memory that ran out: they are removed, and
        added anew.
        """
        ...

    def remove(self, key: int) -> None:
        """Forget a request that has not ended, and free its place."""
        ...


def make_engine(name: str) -> Engine | SteppedEngine:
    """An engine by its `module:Class`. Raises ImportError, AttributeError."""
    module, _, cls = name.partition(":")
    engine: Engine | SteppedEngine = getattr(importlib.import_module(module), cls)()
    return engine


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out: Python's, torch's on a CPU or on a device."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


def give_back() -> None:
    """Let the GPU have what torch keeps of it for later batches; nothing where there is none.

    After a batch that ran out of memory torch would go on holding all there was, and the node
    would take that for what the model needs.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def texts_of(request: InferenceRequest) -> list[str]:
    """The inputs of a request that must be one or more strings. Raises RequestError."""
    texts = [value for value in request.inputs if isinstance(value, str)]
    if not request.inputs:
        raise RequestError(Code.INVALID_INPUT, "`inputs` is empty; send one or more strings")
    if len(texts) != len(request.inputs):
        wrong = next(i for i, value in enumerate(request.inputs) if not isinstance(value, str))
        kind = type(request.inputs[wrong]).__name__
        raise RequestError(
            Code.INVALID_INPUT, f"input {wrong} is {kind}; this task takes only strings"
        )
    return texts


def query_of(request: InferenceRequest) -> tuple[str, list[str]]:
    """The query and the documents to rank by it, which follow it. Raises RequestError."""
    query, *documents = texts_of(request)
    if not documents:
        raise RequestError(
            Code.INVALID_INPUT,
            "`inputs` holds a query and no document; send the query first, then documents",
        )
    check_inputs(len(documents), inputs_that_fit(4))
    return query, documents


def as_batches(rows: Iterable[Row], size: int) -> list[list[Row]]:
    """Rows in their order, `size` to a batch."""
    ordered = list(rows)
    return [ordered[i : i + size] for i in range(0, len(ordered), size)]
