"""A pipeline's files are read without any library; what would run code is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelmora.engines import LoadError
from modelmora.engines.images.pipeline import read_files, read_pipeline
from modelmora.errors import Code

PARTS: dict[str, Any] = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.39.0",
    "requires_safety_checker": True,
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "feature_extractor": [None, None],
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
}
EMPTY = (2).to_bytes(8, "little") + b"{}"


def written(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(json.dumps(content))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    written(tmp_path / "model_index.json", PARTS)
    written(tmp_path / "unet" / "config.json", {"sample_size": 64, "block_out_channels": [32, 64]})
    written(tmp_path / "vae" / "config.json", {"block_out_channels": [1, 2, 3, 4]})
    for name in ("text_encoder", "safety_checker"):
        written(tmp_path / name / "config.json", {"hidden_size": 8})
        written(tmp_path / name / "model.safetensors", EMPTY)
    for name in ("unet", "vae"):
        written(tmp_path / name / "diffusion_pytorch_model.safetensors", EMPTY)
    written(tmp_path / "scheduler" / "scheduler_config.json", {})
    written(tmp_path / "tokenizer" / "vocab.json", {})
    written(tmp_path / "loras" / "ink.safetensors", EMPTY)
    return tmp_path


def test_what_the_files_tell(folder: Path) -> None:
    told = read_files(folder)
    assert told.weight_bytes == 4 * len(EMPTY)
    assert told.facts == {
        "size": "512x512",
        "scheduler": "PNDM",
        "loras": ("ink",),
        "filter": True,
    }


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def put(name: str, content: Any) -> Callable[[Path], None]:
    return lambda folder: written(folder / name, content)


def index(**parts: Any) -> Callable[[Path], None]:
    return put("model_index.json", {**PARTS, **parts})


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (index(_class_name="MyPipeline"), "names the pipeline 'MyPipeline'"),
        (index(_class_name=["pipeline", "MyPipeline"]), "names the pipeline"),
        (index(_class_name=None), "names the pipeline 'None'"),
        (index(unet=["my_unet", "UNet2DConditionModel"]), "takes 'unet' from"),
        (index(unet=["diffusers", "MyUNet"]), "takes 'unet' from"),
        (index(unet=["diffusers"]), "takes 'unet' from"),
        (index(helper=["os", "system"]), "takes 'helper' from"),
        (index(scheduler=["diffusers", "FlowMatchEulerDiscreteScheduler"]), "takes 'scheduler'"),
        (index(helper={"a": 1}), "no part of a pipeline"),
        (index(vae=[None, None]), "has no vae"),
        (without("model_index.json"), "names the pipeline 'None'"),
        (put("model_index.json", b"{"), "not valid JSON"),
        (without("unet/diffusion_pytorch_model.safetensors"), "is missing"),
        (put("unet/diffusion_pytorch_model.safetensors", EMPTY[:5]), "cut off"),
        (without("unet/config.json"), "no unet/config.json"),
        (put("unet/config.json", {"auto_map": {"a": "b"}}), "`auto_map`"),
        (put("unet/config.json", {"sample_size": "64"}), "`sample_size`"),
        (put("vae/config.json", {"block_out_channels": 3}), "`block_out_channels`"),
        (put("loras/ink.safetensors", b"no"), "cut off"),
        (put("unet/diffusion_pytorch_model.bin", b"\x80"), None),
    ],
)
def test_what_is_broken_or_brings_code_is_refused(
    folder: Path, damage: Callable[[Path], None], fault: str | None
) -> None:
    damage(folder)
    if fault is None:  # pickles beside whole weights are never read
        assert read_pipeline(folder)
        return
    with pytest.raises(LoadError, match=fault) as refusal:
        read_pipeline(folder)
    assert refusal.value.code is Code.CANNOT_BE_SERVED
