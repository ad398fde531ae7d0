"""The forms that the network of a text model may have: safetensors for torch, or an ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from modelmora.engines.files import Shape, broken, read_json, read_weights
from modelmora.engines.graphs.graph import GRAPH, Graph, named, read_graph
from modelmora.engines.options import option

RECORD = "onnx.json"
"""Beside a graph that was exported here: how well and how fast it computes."""
SAME = 0.9999
"""The least cosine of a graph that counts as another form of the same version."""
FASTER = 1.1
_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
_OFFSET = ("camembert", "mpnet", "roberta", "xlm-roberta", "xlm-roberta-xl")
"""Kinds whose table of positions begins with a padding index."""


class Form(StrEnum):
    """What the option `form` takes."""

    AUTO = "auto"
    TORCH = "torch"
    ONNX = "onnx"


@dataclass(frozen=True, slots=True)
class TextGraph:
    """A graph from tokens to a vector for each of them, or to a number for each label."""

    graph: Graph
    output: str
    width: int | None
    vocabulary: int | None
    places: int
    """How many tokens it takes."""


def has_graph(folder: Path) -> bool:
    """Whether a graph lies there."""
    return any(folder.glob("*.onnx")) or (folder / "onnx" / GRAPH).exists()


def is_graph(folder: Path) -> bool:
    """Whether a graph lies there, and no weights for torch."""
    return has_graph(folder) and not any(folder.glob("*.safetensors"))


def form_of(folder: Path, options: Mapping[str, Any], *, on_cpu: bool) -> Path | None:
    """The folder of the graph to compute with; None where torch is to compute.

    `auto` takes the only form there is. Of two it takes the graph on a CPU, where its record says
    that it gives the same and was measured faster for single texts. Raises LoadError.
    """
    told = option(options, "form", Form.AUTO)
    if told not in [*Form]:
        raise broken(f"`form` is one of {', '.join(Form)}")
    place = form_beside(options) or folder
    graph, weights = has_graph(place), any(folder.glob("*.safetensors"))
    if told == Form.ONNX and not graph:
        raise broken(f"`form` is onnx, and the model has no {GRAPH}")
    if told == Form.TORCH and not weights:
        raise broken("`form` is torch, and the model has no *.safetensors weights")
    if told == Form.AUTO and graph and weights:
        graph = on_cpu and is_faster(read_json(place / RECORD))
    return place if told != Form.TORCH and graph else None


def form_beside(options: Mapping[str, Any]) -> Path | None:
    """The folder of a graph that does not lie with the model's own files."""
    told = options.get("onnx")
    return Path(told) if isinstance(told, str) else None


def is_faster(record: Mapping[str, Any]) -> bool:
    """Whether a record says that the graph is the same model and pays for single texts."""
    figures = [record.get(name) for name in ("cosine_min", "single_vs_torch")]
    cosine, ratio = (each if isinstance(each, int | float) else 0 for each in figures)
    return cosine > SAME and ratio >= FASTER


def read_network(folder: Path) -> tuple[int, Mapping[str, Shape]]:
    """The bytes of the network in a folder, and the shapes of its tensors. Raises LoadError."""
    if not is_graph(folder):
        return read_weights(folder)
    graph = read_text_graph(folder).graph
    return graph.weight_bytes, graph.tables


def read_text_graph(folder: Path) -> TextGraph:
    """A graph of texts. Raises LoadError where it is none, or does not tell its limits."""
    graph = read_graph(folder)
    names = {port.name for port in graph.inputs}
    if names - _INPUTS or "input_ids" not in names:
        raise broken(f"{graph.path.name} takes {named(graph.inputs)}, which is no text")
    floats = [port for port in graph.outputs if port.dtype == "FP32" and port.shape]
    output = next((p for p in floats if len(p.shape or ()) == 3 or p.name == "logits"), None)
    if output is None or output.shape is None:
        raise broken(f"{graph.path.name} gives {named(graph.outputs)}, no token vectors")
    config = read_json(folder / "config.json")
    rows = graph.rows("position_embeddings.weight") or config.get("max_position_embeddings")
    if type(rows) is not int or rows < 1:
        raise broken("its files do not tell how many tokens it takes; add a config.json")
    pad = config.get("pad_token_id")
    if config.get("model_type") in _OFFSET and type(pad) is int:
        rows -= pad + 1
    last = output.shape[-1]
    vocabulary = graph.rows("word_embeddings.weight") or config.get("vocab_size")
    return TextGraph(
        graph,
        output.name,
        last if isinstance(last, int) else None,
        vocabulary if type(vocabulary) is int else None,
        rows,
    )
