"""What an adapter's own files tell: a LoRA of PEFT or of llama.cpp, and whether it fits; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modelmora.engines.allowed import Listing, readable
from modelmora.engines.files import ModelFiles, Shape, broken, read_header, read_json
from modelmora.engines.folders import model_files
from modelmora.engines.text.gguf_files import read_gguf
from modelmora.text import counted

ADAPTER = "adapter"
"""The option in which an engine is told where its adapter lies; the node alone sets it."""
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
_PEFT = ("peft",)
_TAKEN: Mapping[str, type | tuple[type, ...]] = {
    "r": int,
    "lora_alpha": (int, float),
    "target_modules": (list, str),
    "exclude_modules": (list, str),
    "modules_to_save": list,
    "fan_in_fan_out": bool,
    "bias": str,
    "lora_bias": bool,
    "use_rslora": bool,
    "use_dora": bool,
    "rank_pattern": dict,
    "alpha_pattern": dict,
    "layers_to_transform": (list, int),
    "layers_pattern": (list, str),
    "task_type": str,
}
"""Fields of PEFT's LoraConfig that say what the weights mean."""
_HINTS = frozenset(
    {
        "auto_mapping", "base_model_name_or_path", "inference_mode", "init_lora_weights",
        "lora_dropout", "megatron_core", "peft_type", "peft_version", "qalora_group_size",
        "revision",
    }
)  # fmt: skip
"""Those that say how they were trained, or stand there at their default: left out."""
_INITS = (True, False, None, "gaussian", "orthogonal")
"""Beginnings of a LoRA that leave its base as it is; others, such as PiSSA's, change it."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter as its files describe it; `lora` is what PEFT is to be told, None for GGUF."""

    path: Path
    bytes: int
    lora: Mapping[str, Any] | None = None


def choose_adapter(files: Listing) -> tuple[str, ...]:
    """The paths that make an adapter: PEFT's two files, or one GGUF file.

    Raises LoadError as `readable`, and where there is neither.
    """
    paths = readable(files)
    ggufs = [path for path in paths if path.endswith(".gguf")]
    if ADAPTER_CONFIG in paths and ADAPTER_WEIGHTS in paths:
        return ADAPTER_CONFIG, ADAPTER_WEIGHTS
    if len(ggufs) != 1:
        raise broken(f"an adapter is {ADAPTER_CONFIG} with {ADAPTER_WEIGHTS}, or one GGUF file")
    return tuple(ggufs)


def adapter_files(path: Path) -> tuple[str, ...]:
    """The files of an adapter in a folder, relative to it; or that one file. Raises LoadError."""
    return choose_adapter((name, 0) for name in model_files(path))


def read_adapter(path: Path) -> Adapter:
    """An adapter, checked as far as its files alone allow. Raises LoadError.

    It is a LoRA: whole, of numbers only, and it asks for nothing that is not served.
    """
    first, *_ = adapter_files(path)
    if first != ADAPTER_CONFIG:
        file = path if path.is_file() else path / first
        header = read_gguf(file)
        kind = header.values.get("general.type"), header.values.get("adapter.type")
        if kind != ("adapter", "lora"):
            raise broken(f"{file.name} is no LoRA of llama.cpp")
        return Adapter(file, header.bytes)
    size, shapes = read_header(path / ADAPTER_WEIGHTS)
    if not shapes:
        raise broken(f"{ADAPTER_WEIGHTS} holds no tensors")
    lora = _lora(read_json(path / ADAPTER_CONFIG))
    _check_ranks(lora, shapes)
    return Adapter(path, size, lora)


def with_adapter(files: ModelFiles, base: Path, path: Path) -> ModelFiles:
    """What a model's files tell, with those of its adapter. Raises LoadError where it cannot fit.

    Whether its tensors are those of the model is seen only when both are loaded.
    """
    adapter = read_adapter(path)
    form = ".gguf" if adapter.lora is None else ".safetensors"
    if not any(name.endswith(form) for name in model_files(base)):
        raise broken(f"its adapter changes *{form} weights, and the model has none")
    if adapter.lora is None:
        own, told = read_gguf(adapter.path).architecture, files.facts.get("architecture")
        if own != told:
            raise broken(f"its adapter is for {own[:60]}, and the model is {told}")
    rank = {} if adapter.lora is None else {"adapter_rank": adapter.lora["r"]}
    return replace(
        files,
        weight_bytes=files.weight_bytes + adapter.bytes,
        modules=(*files.modules, *(_PEFT if adapter.lora else ())),
        facts={**files.facts, **rank},
    )


def check_tensors(own: Mapping[str, Shape], told: Mapping[str, Shape]) -> None:
    """Raises LoadError unless an adapter has just the tensors that its model asks it for.

    PEFT alone would leave out, and make up, what the other side lacks.
    """
    for names, fault in (
        (told.keys() - own.keys(), "has {} that fit nothing in the model"),
        (own.keys() - told.keys(), "lacks {}"),
        ({name for name in own if own[name] != told.get(name)}, "has {} of another shape"),
    ):
        if names:
            told_of = fault.format(counted(len(names), "tensor"))
            raise broken(f"its adapter {told_of}, such as {min(names)}")


def _lora(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is taken of a configuration. Raises LoadError for what would change the result."""
    if (kind := config.get("peft_type")) != "LORA":
        raise broken(f"{ADAPTER_CONFIG} is of {str(kind)[:40]}; served is LORA")
    for name, value in config.items():
        if value and name not in _TAKEN and name not in _HINTS:
            raise broken(f"{ADAPTER_CONFIG} asks for `{name[:60]}`, which is not served")
    if (init := config.get("init_lora_weights")) not in _INITS:
        told = f"`init_lora_weights` is {str(init)[:40]}"
        raise broken(f"{ADAPTER_CONFIG} is for a changed base ({told}); save it as a plain LoRA")
    taken = {name: config[name] for name in _TAKEN if config.get(name) is not None}
    for name, value in taken.items():
        if not isinstance(value, _TAKEN[name]) or (value is True and _TAKEN[name] is not bool):
            raise broken(f"{ADAPTER_CONFIG} has a `{name}` that is none")
    if not taken.get("r") or not taken.get("target_modules"):
        raise broken(f"{ADAPTER_CONFIG} does not tell its rank `r` and its `target_modules`")
    return taken


def _check_ranks(lora: Mapping[str, Any], shapes: Mapping[str, Shape]) -> None:
    """Raises LoadError for a rank that no tensor has: PEFT would first make room for it."""
    there = [min(shape) for name, shape in shapes.items() if "lora_" in name and len(shape) > 1]
    most = max(there, default=0)
    for rank in (lora["r"], *lora.get("rank_pattern", {}).values()):
        if type(rank) is not int or not 1 <= rank <= most:
            raise broken(f"{ADAPTER_CONFIG} tells a rank, {str(rank)[:20]}, that its tensors lack")
