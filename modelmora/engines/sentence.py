"""Reads what a sentence-embedding model's own files say: modules, pooling, length, prompt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelmora.engines.base import LoadError
from modelmora.engines.files import ModelFiles, read_json
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
_WIDTHS = ("hidden_size", "dim", "d_model", "n_embd")
"""What configurations call the length of a token's vector."""


@dataclass(frozen=True, slots=True)
class SentenceModel:
    """How to compute one embedding: where the transformer lies and what follows it."""

    transformer: Path
    pooling: tuple[str, ...]
    normalize: bool
    max_tokens: int | None
    lower_case: bool
    prompt: str
    width: int | None
    """Of a token's vector, where the configuration tells it."""


def read_files(path: Path) -> ModelFiles:
    """What the node needs to know of a model before it is loaded. Raises LoadError."""
    model = read_sentence_model(path)
    size = sum(file.stat().st_size for file in model.transformer.glob("*.safetensors"))
    return ModelFiles(size, model.width and 4 * model.width * len(model.pooling))


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
    length = _firstread_json(transformer, "sentence_*_config.json")
    prompts = read_json(path / "config_sentence_transformers.json")
    prompt = (prompts.get("prompts") or {}).get(prompts.get("default_prompt_name") or "") or ""
    config = read_json(transformer / "config.json")
    widths = [config[name] for name in _WIDTHS if type(config.get(name)) is int]
    return SentenceModel(
        transformer=transformer,
        pooling=pooling,
        normalize="Normalize" in modules,
        max_tokens=_max_tokens(length.get("max_seq_length")),
        lower_case=bool(length.get("do_lower_case")),
        prompt=str(prompt),
        width=widths[0] if widths and widths[0] > 0 else None,
    )


def check_safe(folder: Path) -> None:
    """Refuse a transformer that would run code or unpickle; raises LoadError."""
    if not (folder / "config.json").is_file():
        raise LoadError(Code.MODEL_UNAVAILABLE, "the model has no config.json; install it again")
    for name in ("config.json", "tokenizer_config.json", "processor_config.json"):
        if "auto_map" in read_json(folder / name):
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
    entries = read_json(path / "modules.json", list)
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
    config = read_json(folder / "config.json")
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


def _max_tokens(told: Any) -> int | None:
    if told is None or (type(told) is int and told > 0):
        return told
    raise LoadError(Code.MODEL_UNAVAILABLE, "`max_seq_length` is no number of tokens")


def _inside(path: Path, name: str) -> Path:
    folder = (path / name).resolve()
    if not folder.is_relative_to(path.resolve()):
        raise LoadError(Code.CANNOT_BE_SERVED, "modules.json points outside of the model's folder")
    return folder


def _firstread_json(folder: Path, pattern: str) -> dict[str, Any]:
    found = sorted(folder.glob(pattern))
    return read_json(found[0]) if found else {}
