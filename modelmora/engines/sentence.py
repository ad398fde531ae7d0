"""Reads what a sentence-embedding model's own files say: modules, pooling, length, prompt."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelmora.engines.base import LoadError
from modelmora.errors import Code

# File layout and names: Sentence Transformers (modules.json, <n>_Pooling/config.json and
# sentence_<type>_config.json), current and older releases.
POOLING_MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
_OLD_POOLING = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")
_STEPS = ("Transformer", "Pooling", "Normalize")


@dataclass(frozen=True, slots=True)
class SentenceModel:
    """How to compute one embedding: where the transformer lies and what follows it."""

    transformer: Path
    pooling: tuple[str, ...]
    normalize: bool
    max_tokens: int | None
    lower_case: bool
    prompt: str


def read_sentence_model(path: Path) -> SentenceModel:
    """The model of a folder, without importing anything of it.

    Raises LoadError: model_unavailable when files are missing or broken, cannot_be_served when
    it needs code of its own, pickled weights or a step that this engine has not.
    """
    if not path.is_dir():
        raise LoadError(Code.MODEL_UNAVAILABLE, "the model's folder does not exist; install it")
    modules = _modules(path)
    transformer = _inside(path, modules["Transformer"])
    check_safe(transformer)
    pooling = _pooling(_inside(path, modules["Pooling"])) if "Pooling" in modules else ("mean",)
    length = _first_json(transformer, "sentence_*_config.json")
    prompts = _json(path / "config_sentence_transformers.json")
    prompt = (prompts.get("prompts") or {}).get(prompts.get("default_prompt_name") or "") or ""
    return SentenceModel(
        transformer=transformer,
        pooling=pooling,
        normalize="Normalize" in modules,
        max_tokens=length.get("max_seq_length"),
        lower_case=bool(length.get("do_lower_case")),
        prompt=str(prompt),
    )


def check_safe(folder: Path) -> None:
    """Refuse a transformer that would run code or unpickle; raises LoadError."""
    if not (folder / "config.json").is_file():
        raise LoadError(Code.MODEL_UNAVAILABLE, "the model has no config.json; install it again")
    for name in ("config.json", "tokenizer_config.json", "processor_config.json"):
        if "auto_map" in _json(folder / name):
            raise LoadError(
                Code.CANNOT_BE_SERVED,
                f"{name} has an `auto_map`: the model brings code of its own, which is never run",
            )
    if any(folder.glob("*.safetensors")):
        return
    if any(any(folder.glob(pattern)) for pattern in _PICKLED):
        raise LoadError(
            Code.CANNOT_BE_SERVED,
            "the weights are pickled, which can run code; convert them to safetensors",
        )
    raise LoadError(Code.MODEL_UNAVAILABLE, "the model has no *.safetensors weights")


def _modules(path: Path) -> dict[str, str]:
    """Step name -> folder; a model without modules.json is a transformer with mean pooling."""
    if not (path / "modules.json").is_file():
        return {"Transformer": ""}
    steps: dict[str, str] = {}
    entries = _json(path / "modules.json", list)
    for entry in entries:
        kind, _, name = str(entry.get("type", "")).rpartition(".")
        if not kind.startswith("sentence_transformers.") or name not in _STEPS or name in steps:
            raise LoadError(
                Code.CANNOT_BE_SERVED,
                f"modules.json names {name[:60]!r}; served are {', '.join(_STEPS)}, each once",
            )
        steps[name] = str(entry.get("path", ""))
    order = [name for name in _STEPS if name in steps]
    if list(steps) != order or "Transformer" not in steps:
        raise LoadError(
            Code.CANNOT_BE_SERVED, f"modules.json must list its steps as {', '.join(_STEPS)}"
        )
    return steps


def _pooling(folder: Path) -> tuple[str, ...]:
    config = _json(folder / "config.json")
    if config.get("include_prompt") is False:
        raise LoadError(Code.CANNOT_BE_SERVED, "pooling without the prompt is not served")
    named = config.get("pooling_mode")
    if named is None:
        modes = tuple(mode for key, mode in _OLD_POOLING.items() if config.get(key)) or ("mean",)
    else:
        modes = (named,) if isinstance(named, str) else tuple(named)
    for mode in modes:
        if mode not in POOLING_MODES:
            raise LoadError(Code.CANNOT_BE_SERVED, f"pooling {str(mode)[:60]!r} is not known")
    return modes


def _inside(path: Path, name: str) -> Path:
    folder = (path / name).resolve()
    if not folder.is_relative_to(path.resolve()):
        raise LoadError(Code.CANNOT_BE_SERVED, "modules.json points outside of the model's folder")
    return folder


def _first_json(folder: Path, pattern: str) -> dict[str, Any]:
    found = sorted(folder.glob(pattern))
    return _json(found[0]) if found else {}


def _json(path: Path, kind: type[Any] = dict) -> Any:
    """The JSON of a file; empty where there is no such file."""
    if not path.is_file():
        return kind()
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError):
        raise LoadError(Code.MODEL_UNAVAILABLE, f"{path.name} is not valid JSON") from None
    if not isinstance(values, kind):
        raise LoadError(Code.MODEL_UNAVAILABLE, f"{path.name} does not hold a {kind.__name__}")
    return values
