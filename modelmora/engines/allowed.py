"""Which files of a repository make a model, which are left aside, which are refused; pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import PurePosixPath
from typing import Any

from modelmora.engines.files import broken
from modelmora.text import counted, printable, shorten

MOST_FILES = 2000
_LONGEST_PATH = 400
_WEIGHTS = (".safetensors", ".gguf", ".onnx")
"""What is read, the first of them where a repository has several forms of one model."""
_PARTS = re.compile(r"\.onnx[._]data(_\d+)?$|\.data$")
"""Weights beside an ONNX graph, under the names that exporters give them."""
_TEXTS = {".json", ".txt", ".model", ".spm", ".bpe", ".codes", ".tiktoken", ".jinja", ".vocab"}
_PICKLES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz", ".dill"}
_CODE = {".py", ".pyc", ".pyd", ".so", ".dll", ".dylib", ".sh", ".exe", ".js", ".jar", ".lua"}
_OTHER_FORMS = {".h5", ".msgpack", ".ot", ".tflite", ".pb", ".xml", ".mlmodel", ".keras", ".nemo"}
_HARMLESS = {
    ".md", ".rst", ".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg", ".pdf", ".csv", ".tsv",
    ".html", ".ipynb", ".yaml", ".yml", ".log", ".gitattributes", ".gitignore", ".lock",
    ".metadata", ".parquet", ".jsonl", ".zip", ".mp4", ".wav", ".imatrix",
}  # fmt: skip
_HIDDEN = {".git", ".cache", ".huggingface"}
_HARMLESS_NAMES = re.compile(
    r"(licen[cs]e|notice|readme|use_policy|copying|authors|citation)[^/]*|train_script\.py",
    re.IGNORECASE,
)
"""`train_script.py` lies in every model of the Sentence Transformers team. It is left aside too."""
_LIBRARIES = re.compile(r"diffusers|transformers|onnxruntime.*|stable_diffusion.*|latent_.*|flux")
"""What a pipeline's parts may come from: others are modules that diffusers would import."""

Listing = Iterable[tuple[str, int]]
"""Paths relative to the model's folder, parts joined by /, and sizes in bytes."""


def readable(files: Listing) -> tuple[str, ...]:
    """The paths of all that an engine may read, sorted.

    Raises LoadError (cannot_be_served), which names the file and the reason: (1) a path that leads
    out of the folder, (2) code, (3) a kind that is not known, (4) pickled or other weights without
    readable ones in their place. Whether the rest makes a whole model is for its engine to say.
    """
    paths = sorted({path for path, _ in files})
    if len(paths) > MOST_FILES:
        raise broken(f"it has {counted(len(paths), 'file')}; a model has at most {MOST_FILES}")
    for path in paths:
        _check_path(path)
    paths = [path for path in paths if not is_harmless(path)]
    for path in paths:
        _check_kind(path)
    _check_replaced(paths)
    return tuple(path for path in paths if is_weights(path) or _suffix(path) in _TEXTS)


def choose(files: Listing, only: Collection[str] = ()) -> tuple[str, ...]:
    """Of what is readable the paths that are worth fetching.

    Weights in one form, safetensors before GGUF before ONNX, each once; with `only`, all that match
    one of these patterns. Raises LoadError as `readable`, and where none match.
    """
    paths = readable(files)
    weights = [path for path in paths if is_weights(path)]
    if only:
        chosen = [path for path in weights if any(fnmatch(path, pattern) for pattern in only)]
        if not chosen:
            raise broken(f"no weights match {' '.join(map(_told, only))}")
    else:
        chosen = _of_one_form(weights, paths)
    return tuple(path for path in paths if path in chosen or path not in weights)


def is_harmless(path: str) -> bool:
    """Whether it is of no use to a model and does no harm: such files are not fetched."""
    parts = PurePosixPath(path).parts
    if parts[0] in _HIDDEN or _HARMLESS_NAMES.fullmatch(parts[-1]):
        return True
    return _suffix(path) in _HARMLESS or (parts[-1].startswith(".") and _suffix(path) not in _CODE)


def is_weights(path: str) -> bool:
    """Whether it holds numbers of the model."""
    return _suffix(path) in _WEIGHTS or bool(_PARTS.search(path))


def check_json(path: str, content: Any) -> None:
    """Refuse a configuration that names code to run; raises LoadError.

    `auto_map` and `custom_pipelines` are transformers' and diffusers' ways to name code of a
    repository, in a configuration or one within it; an implementation of attention whose name has a
    slash is fetched from the hub; a part of a pipeline, or a step of a sentence model, is imported
    by its name.
    """
    if not isinstance(content, dict | list):
        return
    name = PurePosixPath(path).name
    if name == "modules.json":
        steps = [each for each in content if isinstance(each, dict)]
        for kind in (str(each.get("type", "")) for each in steps):
            if not kind.startswith("sentence_transformers."):
                raise _code(path, f"names the step {_told(kind)}")
    if not isinstance(content, dict):
        return
    for key, value in _settings(content):
        if key in ("auto_map", "custom_pipelines", "custom_pipeline"):
            raise _code(path, f"has an `{key}`")
        if "attn_implementation" in key and "/" in str(value):
            raise _code(path, f"takes `{_told(key)}` from a repository")
    if mapping := content.get("auto_mapping"):  # the class that PEFT found the base to be
        library = mapping.get("parent_library") if isinstance(mapping, dict) else None
        if not str(library).startswith("transformers."):
            raise _code(path, "has an `auto_mapping`")
    if name == "model_index.json":
        _check_index(path, content)


def _settings(content: Any) -> Iterator[tuple[str, Any]]:
    """Names and values, those of configurations within it too."""
    level = [content]
    while level:
        inner: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                yield from each.items()
            inner += each.values() if isinstance(each, dict) else each
        level = [each for each in inner if isinstance(each, dict | list)]


def _check_index(path: str, content: Mapping[str, Any]) -> None:
    if not isinstance(content.get("_class_name"), str):
        raise _code(path, "names a pipeline of its own")
    for key, value in content.items():
        library = value[0] if isinstance(value, list) and value and key[:1] != "_" else None
        if isinstance(library, str) and not _LIBRARIES.fullmatch(library):
            raise _code(path, f"takes `{_told(key)}` from {_told(library)}")


def _code(path: str, what: str) -> Exception:
    return broken(f"{_told(path)} {what}: the model brings code of its own, which is never run")


def _check_path(path: str) -> None:
    """Rule (1)."""
    parts = path.split("/")
    if (
        path != printable(path)
        or "\\" in path
        or ":" in path
        or len(path) > _LONGEST_PATH
        or any(part in ("", ".", "..") for part in parts)
    ):
        raise broken(f"{_told(path)} is no path inside of a model's folder")


def _check_kind(path: str) -> None:
    """Rules (2) and (3)."""
    suffix = _suffix(path)
    if suffix in _CODE:
        raise broken(f"{_told(path)} is code, which is never run; a model has none")
    known = {*_WEIGHTS, *_TEXTS, *_PICKLES, *_OTHER_FORMS}
    if suffix not in known and not _PARTS.search(path):
        raise broken(f"{_told(path)} is of a kind that no model of ours has")


def _of_one_form(weights: Collection[str], paths: Collection[str]) -> list[str]:
    for form in _WEIGHTS:
        found = [path for path in weights if _suffix(path) == form]
        if form == ".safetensors":
            found = _one_of_each(found, paths)
        if found:
            parts = [path for path in weights if _PARTS.search(path)] if form == ".onnx" else []
            return found + parts
    return []


def _one_of_each(found: list[str], paths: Collection[str]) -> list[str]:
    """Without what is there twice: single-file copies of a pipeline, variants of a plain file."""
    if "model_index.json" in paths:
        found = [path for path in found if "/" in path]
    there = set(found)
    plain = {path for path in found if re.sub(r"\.(fp16|bf16|non_ema|ema)\b", "", path) == path}
    kept = [p for p in found if re.sub(r"\.(fp16|bf16|non_ema|ema)\b", "", p) not in plain - {p}]
    if "model.safetensors" in there or "model.safetensors.index.json" in paths:
        kept = [path for path in kept if not path.startswith("consolidated")]
    return kept


def check_one(paths: Collection[str]) -> None:
    """Raises LoadError where a repository holds several quantisations and none was chosen.

    Files of one split model count as one; a projector (mmproj) is a part of it.
    """
    models = {
        re.sub(r"-\d{5}-of-\d{5}(?=\.gguf$)", "", path)
        for path in paths
        if path.endswith(".gguf") and "mmproj" not in path.lower()
    }
    if len(models) > 1:
        names = ", ".join(sorted(_told(path) for path in models)[:12])
        raise broken(f"it has {len(models)} GGUF models; choose with --only PATTERN among {names}")


def _check_replaced(paths: Collection[str]) -> None:
    """Rule (4): readable weights lie somewhere, and in each part with its own configuration."""
    weights = [path for path in paths if is_weights(path)]
    folders = {PurePosixPath(path).parent for path in weights}
    for path in paths:
        folder = PurePosixPath(path).parent
        is_part = folder not in folders and f"{folder}/config.json" in paths
        if _suffix(path) in _PICKLES and (is_part or not weights):
            raise _pickled(path)
        if _suffix(path) in _OTHER_FORMS and not weights:
            raise broken(
                f"{_told(path)}: other weights than safetensors, ONNX and GGUF are not read"
            )


def _pickled(path: str) -> Exception:
    return broken(
        f"{_told(path)}: the weights are pickled, which can run code; convert them to safetensors"
    )


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def _told(text: str) -> str:
    return shorten(printable(text), 80)
