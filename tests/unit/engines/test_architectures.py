"""What the files tell before anything is loaded: task, engine, labels, and what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelmora.engines import CATALOG
from modelmora.engines.architectures import IMAGE_CLASSES, TEXT_CLASSES, ZERO_SHOT, task_of_files
from modelmora.engines.base import LoadError
from modelmora.errors import Code
from tests.tiny_classifiers import LABELS, make_tiny_kind

_TEXTS = "BertForSequenceClassification"
TOLD: dict[str, tuple[dict[str, object], str | None]] = {
    "a text classifier": (
        {"config.json": {"architectures": ["XForSequenceClassification"]}},
        "classify",
    ),
    "a cross-encoder": (
        {"config.json": {"architectures": [_TEXTS], "id2label": {"0": "x"}}},
        "rerank",
    ),
    "an image classifier": (
        {"config.json": {"architectures": ["ResNetForImageClassification"]}},
        "classify",
    ),
    "images and texts": ({"config.json": {"architectures": ["CLIPModel"]}}, "img2embed"),
    "images": ({"config.json": {"architectures": ["Dinov2Model"]}}, "img2embed"),
    "a captioner": (
        {"config.json": {"architectures": ["BlipForConditionalGeneration"]}},
        "img2txt",
    ),
    "a language model": ({"config.json": {"architectures": ["LlamaForCausalLM"]}}, "txt2txt"),
    "steps": (
        {"config.json": {"architectures": ["BertModel"]}, "modules.json": []},
        "txt2embed",
    ),
    "the library's word": (
        {
            "config.json": {"architectures": ["BertModel"]},
            "config_sentence_transformers.json": {"model_type": "CrossEncoder"},
        },
        "rerank",
    ),
    "the library's word for what is not served": (
        {
            "config.json": {"architectures": ["BertForMaskedLM"]},
            "modules.json": [],
            "config_sentence_transformers.json": {"model_type": "SparseEncoder"},
        },
        None,
    ),
    "a pipeline": ({"model_index.json": {}}, "txt2img"),
    "ONNX": ({"model.onnx": {}}, "tensor"),
    "a tag": (
        {
            "config.json": {"architectures": ["BertModel"]},
            "README.md": "---\nlicense: mit\npipeline_tag: sentence-similarity\n---\n# x",
        },
        "txt2embed",
    ),
    "a tag below its place": (
        {"config.json": {}, "README.md": "---\nlicense: mit\n---\npipeline_tag: text-ranking"},
        None,
    ),
    "nothing": ({}, None),
    "no list": ({"config.json": {"architectures": "BertModel"}}, None),
    "no name": ({"config.json": {"architectures": [7]}}, None),
}


@pytest.mark.parametrize(("files", "task"), TOLD.values(), ids=TOLD)
def test_the_files_tell_the_task(
    tmp_path: Path, files: dict[str, object], task: str | None
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    assert task_of_files(tmp_path) == task


@pytest.mark.parametrize("name", ["config.json", "config_sentence_transformers.json"])
def test_broken_files_do_not_tell_a_task(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / name).write_text("{")
    with pytest.raises(LoadError, match="not valid JSON"):
        task_of_files(tmp_path)


def read(task: str, folder: Path) -> Any:
    reader = CATALOG[task].read
    assert reader is not None
    return reader(folder)


@pytest.mark.parametrize(
    ("kind", "engine", "row"),
    [("text", TEXT_CLASSES, 12), ("image", IMAGE_CLASSES, 12), ("clip", ZERO_SHOT, 8)],
)
def test_a_classifier_tells_its_engine(tmp_path: Path, kind: str, engine: str, row: int) -> None:
    files = read("classify", make_tiny_kind(tmp_path / "m", kind))
    assert (files.engine, files.row_bytes) == (engine, row)
    assert files.weight_bytes == (tmp_path / "m" / "model.safetensors").stat().st_size
    assert files.facts.get("labels", LABELS) == LABELS


@pytest.mark.parametrize(
    ("kind", "width", "texts"),
    [("clip", 12, True), ("siglip", 16, True), ("dinov2", 16, False), ("vit", 16, False)],
)
def test_a_model_of_vectors_tells_their_length(
    tmp_path: Path, kind: str, width: int, texts: bool
) -> None:
    files = read("img2embed", make_tiny_kind(tmp_path / "m", kind))
    assert files.facts == {"dimension": width, "texts": texts}
    assert files.row_bytes == 4 * width


def config(**lies: object) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        told = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(told | lies))

    return change


def gone(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def swapped(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-9])


def code(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text('{"auto_map": {"AutoImageProcessor": "x.Y"}}')


FAULTS: dict[str, tuple[str, str, Callable[[Path], object], str]] = {
    "no configuration": ("text", "classify", gone("config.json"), "no config.json"),
    "no tokenizer": ("text", "classify", gone("tokenizer.json"), "no tokenizer.json"),
    "no processor": ("image", "classify", gone("preprocessor_config.json"), "no preprocessor"),
    "cut off": ("image", "classify", cut, "should have"),
    "pickled": ("text", "rerank", swapped, "pickled"),
    "code": ("text", "classify", config(auto_map={"AutoModel": "x.Y"}), "code of its own"),
    "code of images": ("image", "classify", code, "code of its own"),
    "another kind": ("text", "img2txt", lambda folder: None, "not a captioner"),
    "no kind": ("text", "classify", config(architectures=None), "names nothing"),
    "labels missing": ("text", "classify", config(id2label={"0": "a"}), "weights have 3"),
    "labels unnumbered": ("text", "classify", config(id2label={"a": "a"}), "does not number"),
    "no labels": ("text", "classify", config(id2label={}), "names no label"),
    "no number": ("text", "classify", config(id2label=None, num_labels="x"), "num_labels"),
    "several scores": ("text", "rerank", lambda folder: None, "gives 3 scores"),
    "an activation": (
        "reranker",
        "rerank",
        config(sentence_transformers={"activation_fn": "os.system"}),
        "'os.system' is not known",
    ),
}


@pytest.mark.parametrize(("kind", "task", "change", "words"), FAULTS.values(), ids=FAULTS)
def test_what_is_wrong_is_told_before_a_load(
    tmp_path: Path, kind: str, task: str, change: Callable[[Path], object], words: str
) -> None:
    folder = make_tiny_kind(tmp_path / "m", kind)
    change(folder)
    with pytest.raises(LoadError, match=words) as refused:
        read(task, folder)
    assert refused.value.code is Code.CANNOT_BE_SERVED
    assert "\n" not in refused.value.message
