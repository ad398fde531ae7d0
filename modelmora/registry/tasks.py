"""Which task a model's own files tell."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from modelmora.engines.files import read_json
from modelmora.engines.folders import place_of

_BY_ARCHITECTURE = (
    ("ForCausalLM", "txt2txt"),
    ("LMHeadModel", "txt2txt"),
    ("ForImageClassification", "classify"),
    ("VisionEncoderDecoderModel", "img2txt"),
    ("BlipForConditionalGeneration", "img2txt"),
    ("CLIPModel", "img2embed"),
    ("SiglipModel", "img2embed"),
)


def task_of(path: Path, names: Collection[str]) -> str | None:
    """The task of a model with these files, or None where they do not tell. Raises LoadError."""
    config = read_json(place_of(path, "config.json")) if "config.json" in names else {}
    return told_by(names, config)


def told_by(names: Collection[str], config: Mapping[str, Any]) -> str | None:
    """The same of names and the content of config.json; pure.

    (1) Layouts: a pipeline's index, the steps of a sentence model. (2) The configuration's first
    architecture, whose labels tell a reranker from a classifier. (3) The form of the weights.
    """
    if "model_index.json" in names:
        return "txt2img"
    named = config.get("architectures")
    architecture = str(named[0]) if isinstance(named, list) and named else ""
    if architecture.endswith("ForSequenceClassification"):
        labels = config.get("id2label")
        count = len(labels) if isinstance(labels, dict) else config.get("num_labels", 2)
        return "rerank" if count == 1 else "classify"
    if "modules.json" in names and architecture not in ("CLIPModel", "SiglipModel"):
        return "txt2embed"
    for end, task in _BY_ARCHITECTURE:
        if architecture.endswith(end):
            return task
    if any(name.endswith(".gguf") for name in names):
        return "txt2txt"
    if not config and any(name.endswith(".onnx") for name in names):
        return "tensor"
    return None
