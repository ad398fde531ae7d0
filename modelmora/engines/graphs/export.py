"""Writes a text model's network as an ONNX graph, in a process of its own, and measures it.

`python -m modelmora.engines.graphs.export TASK SOURCE TARGET [int8]` prints the record as one line
of JSON, or {"fault": why}. It needs the extra `export`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from modelmora.engines.base import LoadError, Row, make_engine
from modelmora.engines.catalog import entry_for
from modelmora.engines.files import broken
from modelmora.engines.graphs.forms import RECORD, Form
from modelmora.engines.graphs.graph import GRAPH
from modelmora.engines.sentences.texts import OnTexts
from modelmora.errors import Code

NEEDED = ("onnx", "onnxruntime", "onnxscript")
_OPSET = 18
_CALLS = 40
_BATCH = 32
_SMALL = {".json", ".txt", ".model"}
_TEXT = (
    "the queue of letters is read by nobody until a quiet morning brings an old friend who asks "
    "where rivers go when winter ends and why engines hum 42 times before they rest"
)
_WORDS = tuple(_TEXT.split(" "))
SENTENCES = (
    *(" ".join(_WORDS[at % 7 :: 1 + at % 4][: 1 + at]) for at in range(28)),
    "Kafka", "naïve 東京 🙂", "don't stop: 3.14 + 2 = 5.14!", "A", "?",
)  # fmt: skip
"""What the two forms are compared on: 1 to 28 words, and what is no plain word."""


def export(task: str, source: Path, target: Path, *, int8: bool) -> dict[str, Any]:
    """Write the graph and the files around it to `target`; returns its record. Raises LoadError."""
    plain = _loaded(task, source, Form.TORCH)
    target.mkdir(parents=True)
    for file in source.rglob("*"):
        if file.suffix in _SMALL and file.is_file() and file.name != RECORD:
            place = target / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)
    write_graph(plain, target / GRAPH, int8=int8)
    record = compare(plain, _loaded(task, target, Form.ONNX)) | {"int8": int8}
    (target / RECORD).write_text(json.dumps(record, indent=2) + "\n")
    return record


def _loaded(task: str, folder: Path, form: Form) -> OnTexts:
    entry = entry_for(task)
    if entry is None or entry.read is None:
        raise broken(f"models of the task {task} have no ONNX form")
    engine = make_engine(entry.read(folder).engine or entry.engine)
    if not isinstance(engine, OnTexts):
        raise broken(f"models of the task {task} have no ONNX form")
    engine.load(folder, {"form": form.value, "device": "cpu"})
    if engine.network is None:
        raise broken("only a transformer with pooling and normalisation has an ONNX form")
    engine.use_threads(len(os.sched_getaffinity(0)))
    return engine


def write_graph(engine: OnTexts, path: Path, *, int8: bool) -> None:
    """The network of an engine as one file; any number of texts of any length go in."""

    class Network(torch.nn.Module):
        """Its first output alone."""

        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, *inputs: Any) -> Any:
            """Token vectors, or logits."""
            found = self.inner(**dict(zip(names, inputs, strict=True)))
            return found.logits if hasattr(found, "logits") else found.last_hidden_state

    rows = _rows(engine, [("a b", "c d") if engine.first else "a b c"] * 2)
    example = engine.tokenizer.batch(rows, engine.device)
    names = [*example]
    any_size = {0: torch.export.Dim("batch", max=4096), 1: torch.export.Dim("tokens", min=2)}
    hidden = "logits" if hasattr(engine.network(**example), "logits") else "last_hidden_state"
    program = torch.onnx.export(
        Network(engine.network).eval(),
        tuple(example.values()),
        dynamo=True,
        dynamic_shapes={"inputs": tuple(any_size for _ in names)},
        input_names=names,
        output_names=[hidden],
        opset_version=_OPSET,
        verbose=False,
    )
    if program is None:
        raise broken("torch wrote no graph of it")
    program.save(str(path))
    if int8:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        whole = path.with_name("whole.onnx")
        path.rename(whole)
        quantize_dynamic(whole, path, weight_type=QuantType.QInt8)
        whole.unlink()


def _rows(engine: OnTexts, texts: Sequence[Any]) -> list[Row]:
    read = engine.tokenizer.read(list(texts), truncate=True)
    return [Row(0, part, tokens, len(tokens.ids)) for part, tokens in enumerate(read)]


def compare(plain: OnTexts, graph: OnTexts) -> dict[str, Any]:
    """How alike the two are, and how many times as fast the graph is."""
    texts = [("where do rivers go", text) if plain.first else text for text in SENTENCES]
    rows = _rows(plain, texts)

    def computed(engine: OnTexts, some: Sequence[Row]) -> Any:
        with torch.inference_mode():
            found = engine.compute(engine.tokenizer.batch(some, engine.device), {})
        return found.reshape(len(some), -1).numpy()

    first, second = ([computed(engine, [row])[0] for row in rows] for engine in (plain, graph))
    norms = [np.linalg.norm(a) * np.linalg.norm(b) for a, b in zip(first, second, strict=True)]
    cosines = [float(a @ b / n) if n else 0.0 for a, b, n in zip(first, second, norms, strict=True)]
    differences = [float(np.abs(a - b).max()) for a, b in zip(first, second, strict=True)]
    batch = (rows * _BATCH)[:_BATCH]
    return {
        "cosine_min": min(cosines),
        "cosine_mean": float(np.mean(cosines)),
        "difference_max": max(differences),
        "single_vs_torch": _ratio(
            lambda: computed(plain, rows[12:13]), lambda: computed(graph, rows[12:13]), _CALLS
        ),
        "batch_vs_torch": _ratio(
            lambda: computed(plain, batch), lambda: computed(graph, batch), _CALLS // 8
        ),
    }


def _ratio(plain: Callable[[], object], graph: Callable[[], object], calls: int) -> float:
    """Median seconds of the first by those of the second, in turns."""
    times: dict[Callable[[], object], list[float]] = {plain: [], graph: []}
    for number in range(calls + 3):
        for call, seen in times.items():
            began = time.perf_counter()
            call()
            if number >= 3:
                seen.append(time.perf_counter() - began)
    return round(median(times[plain]) / median(times[graph]), 3)


def main(arguments: Sequence[str]) -> int:
    """Export, and print the record or the fault."""
    task, source, target, *rest = arguments
    try:
        if missing := [name for name in NEEDED if find_spec(name) is None]:
            raise LoadError(
                Code.MODEL_UNAVAILABLE,
                f"exporting needs {', '.join(missing)}: pip install 'modelmora[export]'",
            )
        told: dict[str, Any] = export(task, Path(source), Path(target), int8="int8" in rest)
    except LoadError as error:
        told = {"fault": error.message, "code": error.code.value}
    sys.stdout.write(json.dumps(told) + "\n")
    return 1 if "fault" in told else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
