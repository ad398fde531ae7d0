"""What a transformers model's own files tell: task, engine, labels and vectors; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelmora.engines.files import ModelFiles, Shape, broken, read_bytes, read_json
from modelmora.engines.graphs.forms import has_graph, read_network
from modelmora.engines.sentences.sentence import (
    CONFIG,
    CONFIG_OF_LIBRARY,
    TOKENIZER,
    check_safe,
    check_tokenizer,
    table,
)
from modelmora.engines.text.files import is_gguf, read_gguf_model
from modelmora.engines.text.pooled import task_of_gguf
from modelmora.text import counted

TEXT_CLASSES = "modelmora.engines.sentences.classes:TextClasses"
IMAGE_CLASSES = "modelmora.engines.images.classes:ImageClasses"
ZERO_SHOT = "modelmora.engines.images.zero_shot:ZeroShot"
PROCESSOR = "preprocessor_config.json"
DUAL = ("AltCLIPModel", "ChineseCLIPModel", "CLIPModel", "Siglip2Model", "SiglipModel")
"""Images and texts in one space."""
FEATURES = (
    "BeitModel", "ConvNextModel", "ConvNextV2Model", "DeiTModel", "Dinov2Model",
    "Dinov2WithRegistersModel", "DINOv3ViTModel", "ResNetModel", "SwinModel", "ViTModel",
)  # fmt: skip
_OWN_POOLER = ("DeiTModel", "ViTModel")
"""Their pooler has weights, which many are saved without."""
CAPTIONERS = ("BlipForConditionalGeneration", "GitForCausalLM", "VisionEncoderDecoderModel")
_TEXT_CLASSES = re.compile(r"\w+ForSequenceClassification")
_IMAGE_CLASSES = re.compile(r"\w+ForImageClassification")
_HEADS = ("classifier.weight", "classifier.out_proj.weight", "score.weight", "classifier.1.weight")
_WIDTHS = ("visual_projection.weight", "vision_model.post_layernorm.weight", "layernorm.weight")
"""Tensors whose first axis is the length of the vectors."""
_OF_A_SCORE = 8
"""Bytes of a score and of the length of its label."""
TASKS_OF_TAGS = {
    "feature-extraction": "txt2embed",
    "image-classification": "classify",
    "image-feature-extraction": "img2embed",
    "image-to-text": "img2txt",
    "sentence-similarity": "txt2embed",
    "text-classification": "classify",
    "text-generation": "txt2txt",
    "text-ranking": "rerank",
    "text-to-image": "txt2img",
    "zero-shot-image-classification": "img2embed",
}
_TASKS_OF_LIBRARY = {"SentenceTransformer": "txt2embed", "CrossEncoder": "rerank"}
_TAG = re.compile(r"^pipeline_tag:\s*[\"']?([a-z0-9-]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Transformer:
    """A transformers model as its files describe it."""

    config: Mapping[str, Any]
    architecture: str
    weight_bytes: int
    shapes: Mapping[str, Shape]


def task_of_files(folder: Path) -> str | None:
    """The task that a model's own files tell, or None where they do not.

    (1) A GGUF's header, and files that only one task has, (2) the kind that Sentence Transformers
    writes down, (3) the architecture of config.json, (4) steps of a sentence model, (5) the tag of
    its model card. Raises LoadError where one of them cannot be read.
    """
    # (1)
    if is_gguf(folder):
        return task_of_gguf(read_gguf_model(folder).header)
    if (folder / "model_index.json").is_file():
        return "txt2img"
    if has_graph(folder) and not (folder / CONFIG).is_file():
        return "txt2embed" if (folder / TOKENIZER).is_file() else "tensor"
    # (2)
    kind = read_json(folder / CONFIG_OF_LIBRARY).get("model_type")
    if kind is not None:
        return _TASKS_OF_LIBRARY.get(str(kind))
    # (3)
    if found := _task_of_config(read_json(folder / CONFIG)):
        return found
    # (4)
    if (folder / "modules.json").is_file():
        return "txt2embed"
    # (5)
    card = read_bytes(folder / "README.md") or b""
    front = card.decode("utf-8", "replace").split("\n---", 1)[0] if card[:3] == b"---" else ""
    tag = _TAG.search(front)
    return TASKS_OF_TAGS.get(tag[1]) if tag else None


def _task_of_config(config: Mapping[str, Any]) -> str | None:
    name = architecture_of(config)
    if _TEXT_CLASSES.fullmatch(name):
        return "rerank" if len(labels_of(config)) == 1 else "classify"
    if _IMAGE_CLASSES.fullmatch(name):
        return "classify"
    if name in DUAL or name in FEATURES:
        return "img2embed"
    if name in CAPTIONERS:
        return "img2txt"
    return "txt2txt" if name.endswith("ForCausalLM") else None


def labels_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of a classifier's outputs in their order. Raises LoadError.

    Without names they are LABEL_0, LABEL_1…, as transformers calls them; two unless told.
    """
    names = config.get("id2label")
    if names is None:
        count = config.get("num_labels", 2)
        if type(count) is not int or not 1 <= count <= 1_000_000:
            raise broken(f"{CONFIG} has a `num_labels` that is no number of labels")
        return tuple(f"LABEL_{number}" for number in range(count))
    if not isinstance(names, dict) or {*names} != {str(number) for number in range(len(names))}:
        raise broken(f"{CONFIG} has an `id2label` that does not number its labels from 0")
    return tuple(str(names[str(number)]) for number in range(len(names)))


def read_classifier(folder: Path) -> ModelFiles:
    """A model of texts or images with labels of its own, or one that compares them. LoadError."""
    model = _read(folder)
    if model.architecture in DUAL:
        _check_tokenizer(folder, model)
        _check_processor(folder)
        return ModelFiles(model.weight_bytes, _OF_A_SCORE, ZERO_SHOT)
    labels = _checked_labels(model)
    facts = {"labels": labels, "multi_label": is_multi_label(model.config)}
    row = _OF_A_SCORE + min(len(label.encode()) for label in labels)
    if _IMAGE_CLASSES.fullmatch(model.architecture):
        _check_processor(folder)
        return ModelFiles(model.weight_bytes, row, IMAGE_CLASSES, facts=facts)
    if _TEXT_CLASSES.fullmatch(model.architecture):
        _check_tokenizer(folder, model)
        return ModelFiles(model.weight_bytes, row, TEXT_CLASSES, facts=facts)
    raise _another(model, "a classifier")


def is_multi_label(config: Mapping[str, Any]) -> bool:
    """Whether each label is true or false by itself (sigmoid, not softmax)."""
    return config.get("problem_type") == "multi_label_classification"


def read_reranker(folder: Path) -> ModelFiles:
    """A cross-encoder: query and document in, one score out. Raises LoadError."""
    model = _read(folder)
    if not _TEXT_CLASSES.fullmatch(model.architecture):
        raise _another(model, "a cross-encoder")
    if len(labels := _checked_labels(model)) != 1:
        raise broken(f"the model gives {counted(len(labels), 'score')}; a reranker gives one")
    activation_of(folder)
    _check_tokenizer(folder, model)
    return ModelFiles(model.weight_bytes, 4)


def activation_of(folder: Path) -> str:
    """What a cross-encoder's score goes through: "sigmoid" or "none". Raises LoadError.

    Told, by release of Sentence Transformers, in one of three places; nowhere means the sigmoid.
    """
    library, config = read_json(folder / CONFIG_OF_LIBRARY), read_json(folder / CONFIG)
    own = config.get("sentence_transformers")
    told = library.get("activation_fn")
    told = told or (own.get("activation_fn") if isinstance(own, dict) else None)
    told = told or config.get("sbert_ce_default_activation_function")
    if library.get("default_prompt_name") is not None:
        raise broken("a reranker that puts a prompt before its texts is not served")
    if told is None or str(told).endswith(".Sigmoid"):
        return "sigmoid"
    if str(told).endswith(".Identity"):
        return "none"
    raise broken(f"the activation {str(told)[:60]!r} is not known; known are Sigmoid and Identity")


@dataclass(frozen=True, slots=True)
class Features:
    """How a model makes vectors of images."""

    files: ModelFiles
    texts: bool
    """Whether it has vectors of texts in the same space."""
    pooled: bool
    """Whether the files have what pools a picture; else its first token stands for it."""
    width: int | None


def read_features(folder: Path) -> ModelFiles:
    """A model that makes vectors of images, and of texts where it has them. Raises LoadError."""
    return read_image_model(folder).files


def read_image_model(folder: Path) -> Features:
    """The same, and how it does so. Raises LoadError."""
    model = _read(folder)
    if model.architecture not in (*DUAL, *FEATURES):
        raise _another(model, "a model of image vectors")
    _check_processor(folder)
    texts = model.architecture in DUAL
    if texts:
        _check_tokenizer(folder, model)
    found = (model.shapes.get(name) for name in _WIDTHS)
    width = next((shape[0] for shape in found if shape), None)
    facts = {"dimension": width, "texts": texts}
    files = ModelFiles(model.weight_bytes, width and 4 * width, facts=facts)
    pooled = model.architecture not in _OWN_POOLER or any("pooler." in n for n in model.shapes)
    return Features(files, texts, pooled, width)


def read_captioner(folder: Path) -> ModelFiles:
    """A model that says in words what an image shows. Raises LoadError."""
    model = _read(folder)
    if model.architecture not in CAPTIONERS:
        raise _another(model, "a captioner")
    _check_processor(folder)
    check_tokenizer(folder, None)
    return ModelFiles(model.weight_bytes)


def architecture_of(config: Mapping[str, Any]) -> str:
    """The class that a configuration names first; "" where it names none."""
    names = config.get("architectures")
    return str(names[0]) if isinstance(names, list) and names else ""


def _read(folder: Path) -> Transformer:
    if not folder.is_dir():
        raise broken("the model's folder does not exist")
    check_safe(folder)
    config = read_json(folder / CONFIG)
    return Transformer(config, architecture_of(config), *read_network(folder))


def _another(model: Transformer, wanted: str) -> Exception:
    name = model.architecture[:60] or "nothing"
    return broken(f"{CONFIG} names {name} in `architectures`, which is not {wanted} known here")


def _checked_labels(model: Transformer) -> tuple[str, ...]:
    labels = labels_of(model.config)
    if not labels:
        raise broken(f"{CONFIG} names no label")
    heads = (shape for name, shape in model.shapes.items() if name.endswith(_HEADS))
    if (shape := next(heads, None)) and shape[0] != len(labels):
        raise broken(
            f"{CONFIG} has {counted(len(labels), 'label')}, and the weights have {shape[0]}"
        )
    return labels


def _check_tokenizer(folder: Path, model: Transformer) -> None:
    words = table(model.shapes, "word_embeddings.weight") or table(
        model.shapes, "token_embedding.weight"
    )
    check_tokenizer(folder, words[0] if words else None)


def _check_processor(folder: Path) -> None:
    if not read_json(folder / PROCESSOR):
        raise broken(f"the model has no {PROCESSOR}, which tells how images are prepared")
