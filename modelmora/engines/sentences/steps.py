"""What modules.json lists: the steps of a sentence model, whether ours or the library's; pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modelmora.engines.files import broken, read_bytes, read_json

MODULES = "modules.json"
FAST = ("Transformer", "Pooling", "Normalize")
"""Those of the fast engine, each at most once and in this order."""
KNOWN = (
    *FAST, "CNN", "Dense", "Dropout", "LayerNorm", "LSTM", "StaticEmbedding",
    "WeightedLayerPooling",
)  # fmt: skip
"""Those of the library whose files name no other class to import."""
_WITH_WEIGHTS = {"CNN", "Dense", "LayerNorm", "LSTM", "StaticEmbedding", "WeightedLayerPooling"}
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")
_ACTIVATION = re.compile(r"torch\.nn\.modules\.(activation|linear)\.[A-Za-z0-9]+")


@dataclass(frozen=True, slots=True)
class SentenceStep:
    """One step: the name of its class and the folder with its files."""

    name: str
    folder: Path


def read_steps(path: Path) -> Sequence[SentenceStep]:
    """The steps of a model; without modules.json it is a transformer alone.

    Raises LoadError: a class outside of Sentence Transformers, one that is not known, weights that
    are pickled or missing, a folder outside of the model's.
    """
    if read_bytes(path / MODULES) is None:
        return (SentenceStep("Transformer", path),)
    steps = []
    for entry in read_json(path / MODULES, list):
        if not isinstance(entry, dict):
            raise broken(f"{MODULES} does not list steps")
        kind, _, name = str(entry.get("type", "")).rpartition(".")
        if not kind.startswith("sentence_transformers.") or name not in KNOWN:
            raise broken(f"{MODULES} names {name[:60]!r}; served are {', '.join(KNOWN)}")
        steps.append(SentenceStep(name, _inside(path, str(entry.get("path", "")))))
    if not steps or steps[0].name not in ("Transformer", "StaticEmbedding"):
        raise broken(f"{MODULES} must begin with a Transformer or a StaticEmbedding")
    for step in steps:
        _check(step)
    return steps


def are_fast(steps: Sequence[SentenceStep]) -> bool:
    """Whether the fast engine computes exactly these."""
    names = [step.name for step in steps]
    if names[0] != "Transformer" or names != [name for name in FAST if name in names]:
        return False
    pooling = [step for step in steps if step.name == "Pooling"]
    return (
        not pooling
        or read_json(pooling[0].folder / "config.json").get("include_prompt") is not False
    )


def check_weights(folder: Path) -> None:
    """Refuse weights that are pickled, or missing; raises LoadError."""
    if any(folder.glob("*.safetensors")):
        return  # whether they are whole is for `read_weights`
    if any(any(folder.glob(pattern)) for pattern in _PICKLED):
        raise broken("the weights are pickled, which can run code; convert them to safetensors")
    raise broken("the model has no *.safetensors weights")


def _check(step: SentenceStep) -> None:
    if step.name in _WITH_WEIGHTS:
        check_weights(step.folder)
    told = read_json(step.folder / "config.json").get("activation_function")
    if step.name == "Dense" and told is not None and not _ACTIVATION.fullmatch(str(told)):
        raise broken(f"the activation {str(told)[:60]!r} is none of PyTorch's own")


def _inside(path: Path, name: str) -> Path:
    try:
        folder = (path / name).resolve()
    except (OSError, RuntimeError, ValueError):
        raise broken(f"{MODULES} names a folder that is none: {name[:60]!r}") from None
    if not folder.is_relative_to(path.resolve()):
        raise broken(f"{MODULES} points outside of the model's folder")
    return folder
