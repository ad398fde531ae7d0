"""Reads what an image pipeline's own files say: its class, its parts, its size, its LoRAs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelmora.engines.files import ModelFiles, broken, read_header, read_json, read_weights
from modelmora.messages import Parameter
from modelmora.text import printable, shorten

# File layout and names: diffusers (model_index.json, <part>/config.json).
INDEX = "model_index.json"
LORAS = "loras"
PNDM_STEPS = 4
"""As many earlier steps it looks back on, unless its configuration leaves the first ones out."""
_UNET = "diffusion_pytorch_model.safetensors"
_TEXT = "model.safetensors"

PIPELINES = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")
SCHEDULERS: Mapping[str, str] = {
    "DDIM": "DDIMScheduler",
    "DPMSolver++": "DPMSolverMultistepScheduler",
    "Euler": "EulerDiscreteScheduler",
    "EulerAncestral": "EulerAncestralDiscreteScheduler",
    "LCM": "LCMScheduler",
    "PNDM": "PNDMScheduler",
}
"""By the names that requests use; a model's own is one of them too."""
_ENCODERS = ("CLIPTextModel", "CLIPTextModelWithProjection")
_TOKENIZERS = ("CLIPTokenizer", "CLIPTokenizerFast")
_PARTS: Mapping[str, tuple[str, tuple[str, ...], str | None]] = {
    "unet": ("diffusers", ("UNet2DConditionModel",), _UNET),
    "vae": ("diffusers", ("AutoencoderKL",), _UNET),
    "scheduler": ("diffusers", tuple(SCHEDULERS.values()), None),
    "text_encoder": ("transformers", _ENCODERS, _TEXT),
    "text_encoder_2": ("transformers", _ENCODERS, _TEXT),
    "tokenizer": ("transformers", _TOKENIZERS, None),
    "tokenizer_2": ("transformers", _TOKENIZERS, None),
    "feature_extractor": ("transformers", ("CLIPImageProcessor", "CLIPFeatureExtractor"), None),
    "safety_checker": ("stable_diffusion", ("StableDiffusionSafetyChecker",), _TEXT),
    "image_encoder": ("transformers", ("CLIPVisionModelWithProjection",), _TEXT),
}
"""Library, classes and file of weights of each part that there may be; nothing else is imported."""
_NEEDED = ("unet", "vae", "scheduler", "text_encoder", "tokenizer")


@dataclass(frozen=True, slots=True)
class Pipeline:
    """How to make images: `size` in pixels is what the model was trained for."""

    folder: Path
    kind: str
    size: int
    grain: int
    """Width and height are multiples of it."""
    least: int
    """The smallest that its network halves without a rest, in pixels."""
    scheduler: str
    loras: tuple[str, ...]
    filtered: bool
    """Whether it has a safety checker, which blackens what it takes offence at."""
    weight_bytes: int


def read_files(path: Path) -> ModelFiles:
    """What the node needs to know of a model before it is loaded. Raises LoadError."""
    pipeline = read_pipeline(path)
    facts = {
        "size": f"{pipeline.size}x{pipeline.size}",
        "scheduler": pipeline.scheduler,
        "loras": pipeline.loras,
        "filter": pipeline.filtered,
    }
    side = pipeline.least
    steps = PNDM_STEPS if pipeline.scheduler == "PNDM" else 1
    first: dict[str, Parameter] = {"size": f"{side}x{side}", "steps": steps, "guidance": 1.0}
    return ModelFiles(pipeline.weight_bytes, first=first, facts=facts)


def read_pipeline(folder: Path) -> Pipeline:
    """The pipeline of a folder, without importing anything of it.

    Raises LoadError (cannot_be_served): files are missing or broken, or it needs classes that are
    not of diffusers and transformers.
    """
    index = read_json(folder / INDEX)
    kind = index.get("_class_name")
    if kind not in PIPELINES:
        raise broken(
            f"{INDEX} names the pipeline {_told(kind)}; served are {', '.join(PIPELINES)}, and "
            "no code of a model's own"
        )
    parts = _parts(index)
    total = 0
    for name in parts:
        total += _read_part(folder / name, name)
    unet, vae = (read_json(folder / name / "config.json") for name in ("unet", "vae"))
    blocks = vae.get("block_out_channels")
    if not isinstance(blocks, list) or not 1 <= len(blocks) <= 8:
        raise broken("vae/config.json has no `block_out_channels`")
    grain = 2 ** (len(blocks) - 1)
    sample = unet.get("sample_size")
    if type(sample) is not int or not 1 <= sample <= 1024:
        raise broken("unet/config.json has no `sample_size`")
    halved = unet.get("block_out_channels")
    if not isinstance(halved, list) or not 1 <= len(halved) <= 8:
        raise broken("unet/config.json has no `block_out_channels`")
    names = {kind: name for name, kind in SCHEDULERS.items()}
    loras = sorted((folder / LORAS).glob("*.safetensors"))
    for file in loras:
        read_header(file)
    return Pipeline(
        folder=folder,
        kind=kind,
        size=sample * grain,
        grain=grain,
        least=min(sample, 2 ** (len(halved) - 1)) * grain,
        scheduler=names[parts["scheduler"]],
        loras=tuple(file.stem for file in loras),
        filtered="safety_checker" in parts,
        weight_bytes=total,
    )


def _parts(index: Mapping[str, Any]) -> dict[str, str]:
    """The class of each part that is there."""
    parts: dict[str, str] = {}
    for name, told in index.items():
        if name.startswith("_") or not isinstance(told, list):
            if isinstance(told, dict):
                raise broken(f"{INDEX} has {_told(name)} that is no part of a pipeline")
            continue
        if told == [None, None]:
            continue
        library, kinds, _ = _PARTS.get(name, ("", (), None))
        if len(told) != 2 or told[0] != library or told[1] not in kinds:
            raise broken(
                f"{INDEX} takes {_told(name)} from {_told(told)}; served are the classes of "
                "diffusers and transformers for it, and no code of a model's own"
            )
        parts[name] = told[1]
    if missing := [name for name in _NEEDED if name not in parts]:
        raise broken(f"{INDEX} has no {missing[0]}")
    return parts


def _read_part(folder: Path, name: str) -> int:
    """The bytes of a part's weights; raises LoadError where it is not whole."""
    weights = _PARTS[name][2]
    config = read_json(folder / "config.json")
    if "auto_map" in config:
        raise broken(f"{name}/config.json has an `auto_map`: code of its own, which is never run")
    if weights is None:
        if not folder.is_dir():
            raise broken(f"the folder {name} is missing")
        return 0
    if not config:
        raise broken(f"the model has no {name}/config.json")
    return read_weights(folder, weights)[0]


def _told(value: Any) -> str:
    return repr(shorten(printable(str(value)), 60))
