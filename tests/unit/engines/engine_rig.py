"""Runs a batch engine as the child does, without the child."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modelmora.engines import CATALOG, Engine, Outputs, SteppedEngine, entry_for, settings_for
from modelmora.engines.base import make_engine
from modelmora.errors import RequestError
from modelmora.messages import Content, InferenceRequest, Parameter, Tensor

Answer = Sequence[Content] | RequestError


def loaded(folder: Path, task: str) -> Engine:
    """The engine that the files call for, on the CPU."""
    entry = entry_for(task)
    assert entry is not None
    assert entry.read is not None
    engine = batch_engine(entry.read(folder).engine or entry.engine)
    engine.load(folder, {"device": "cpu"})
    return engine


def batch_engine(name: str) -> Engine:
    """The engine of a `module:Class` that must be a batch engine."""
    engine = make_engine(name)
    assert not isinstance(engine, SteppedEngine)
    return engine


def answers(
    engine: Engine, task: str, *requests: Sequence[Content], **parameters: Parameter
) -> list[Answer]:
    """The outputs of each request, or why it was refused."""
    settings = settings_for(CATALOG[task], parameters)
    asked = [InferenceRequest(str(n), "m", tuple(inputs)) for n, inputs in enumerate(requests)]
    plan = engine.plan(list(enumerate(asked)), settings)
    parts: list[dict[int, Any]] = [{} for _ in asked]
    for batch in plan.batches:
        for row, output in zip(batch, engine.run(batch, settings), strict=True):
            parts[row.index][row.part] = output
    refused: dict[int, Answer] = dict(plan.refused)
    return [
        refused[n] if n in refused else _finish(engine, each, parts[n])
        for n, each in enumerate(asked)
    ]


def _finish(engine: Engine, request: InferenceRequest, parts: dict[int, Any]) -> Answer:
    try:
        outputs = engine.finish(request, [parts[place] for place in range(len(parts))])
        return outputs.contents if isinstance(outputs, Outputs) else outputs
    except RequestError as error:
        return error


def numbers(content: Content, name: str) -> np.ndarray[Any, Any]:
    """An FP32 tensor of that name."""
    assert isinstance(content, Tensor)
    assert (content.name, content.dtype) == (name, "FP32")
    return np.frombuffer(content.data, "<f4").reshape(content.shape)


def words(content: Content, name: str) -> list[list[str]]:
    """A BYTES tensor [rows, columns] of that name."""
    from modelmora.wire.tensors import to_nested

    assert isinstance(content, Tensor)
    assert (content.name, content.dtype) == (name, "BYTES")
    nested: list[list[str]] = to_nested(content)
    return nested
