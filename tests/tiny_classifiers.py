"""Tiny classifiers, rerankers, models of images with random weights, made on the spot."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from shutil import copytree
from typing import Any

from tests.folders import session_folder
from tests.tiny_models import PLACES, WORDS, save_tokenizer

LABELS = ("fish", "fowl", "naïve 東京")
SIDE = 16
"""Width and height of the images that the tiny models take."""
_BERT: dict[str, Any] = {
    "vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 16, "max_position_embeddings": PLACES, "pad_token_id": 0,
}  # fmt: skip
_VIT: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
    "image_size": SIDE, "patch_size": 8,
}  # fmt: skip


def make_tiny_kind(folder: Path, kind: str, **config: Any) -> Path:
    """A model of that kind in the folder; `config` goes over its config.json."""
    copytree(_made(kind), folder)
    if config:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return folder


def picture(
    width: int = 24, height: int = 20, seed: int = 1, kind: str = "PNG", **save: Any
) -> bytes:
    """A file with noise, darker or brighter by its seed."""
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(seed).integers(
        0, 25 * (seed % 10) + 5, (height, width, 3), np.uint8
    )
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, kind, **save)
    return stream.getvalue()


@cache
def _made(kind: str) -> Path:
    import torch

    folder = session_folder(f"tiny-{kind}-")
    torch.manual_seed(1)
    model, images = _MAKERS[kind]()
    # Untrained heads all say the same; larger weights tell inputs apart.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    model.save_pretrained(folder)
    if images:
        images.save_pretrained(folder)
    save_tokenizer(folder, "[PAD]")
    return folder


def _labelled() -> dict[str, Any]:
    return {"id2label": dict(enumerate(LABELS)), "label2id": {v: k for k, v in enumerate(LABELS)}}


def _text_classes(**more: Any) -> tuple[Any, None]:
    from transformers import BertConfig, BertForSequenceClassification

    return BertForSequenceClassification(BertConfig(**_BERT, **more)), None


def _image_classes(**more: Any) -> tuple[Any, Any]:
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

    size = {"height": SIDE, "width": SIDE}
    return ViTForImageClassification(ViTConfig(**_VIT, **more)), ViTImageProcessorPil(size=size)


def _efficient() -> tuple[Any, Any]:
    from transformers import (
        EfficientNetConfig,
        EfficientNetForImageClassification,
        EfficientNetImageProcessorPil,
    )

    config = EfficientNetConfig(
        image_size=64, width_coefficient=0.1, depth_coefficient=0.1, hidden_dim=128, **_labelled()
    )
    size = {"height": 64, "width": 64}
    return EfficientNetForImageClassification(config), EfficientNetImageProcessorPil(size=size)


def _clip() -> tuple[Any, Any]:
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

    text = {**_BERT, "bos_token_id": 3, "eos_token_id": 4}
    config = CLIPConfig(text_config=text, vision_config=dict(_VIT), projection_dim=12)
    size = {"shortest_edge": SIDE}
    crop = {"height": SIDE, "width": SIDE}
    return CLIPModel(config), CLIPImageProcessorPil(size=size, crop_size=crop)


def _siglip() -> tuple[Any, Any]:
    from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel

    config = SiglipConfig(text_config=dict(_BERT), vision_config=dict(_VIT))
    return SiglipModel(config), SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE})


def _dino() -> tuple[Any, Any]:
    from transformers import BitImageProcessorPil, Dinov2Config, Dinov2Model

    size, crop = {"shortest_edge": SIDE}, {"height": SIDE, "width": SIDE}
    return Dinov2Model(Dinov2Config(**_VIT)), BitImageProcessorPil(size=size, crop_size=crop)


def _vit() -> tuple[Any, Any]:
    from transformers import ViTConfig, ViTImageProcessorPil, ViTModel

    size = {"height": SIDE, "width": SIDE}
    model = ViTModel(ViTConfig(**_VIT), add_pooling_layer=False)
    return model, ViTImageProcessorPil(size=size)


def _blip() -> tuple[Any, Any]:
    from transformers import BlipConfig, BlipForConditionalGeneration, BlipImageProcessorPil

    text = {
        **_BERT,
        "bos_token_id": 3,
        "sep_token_id": 4,
        "eos_token_id": 4,
        "encoder_hidden_size": 16,
    }
    config = BlipConfig(text_config=text, vision_config=dict(_VIT))
    size = {"height": SIDE, "width": SIDE}
    return BlipForConditionalGeneration(config), BlipImageProcessorPil(size=size)


def _git() -> tuple[Any, Any]:
    from transformers import CLIPImageProcessorPil, GitConfig, GitForCausalLM

    config = GitConfig(vision_config=dict(_VIT), bos_token_id=3, eos_token_id=4, **_BERT)
    size, crop = {"shortest_edge": SIDE}, {"height": SIDE, "width": SIDE}
    return GitForCausalLM(config), CLIPImageProcessorPil(size=size, crop_size=crop)


def _vision_gpt() -> tuple[Any, Any]:
    from transformers import (
        GPT2Config,
        VisionEncoderDecoderConfig,
        VisionEncoderDecoderModel,
        ViTConfig,
        ViTImageProcessorPil,
    )

    decoder = GPT2Config(
        vocab_size=len(WORDS), n_embd=16, n_layer=1, n_head=2, n_positions=PLACES,
        bos_token_id=3, eos_token_id=4, is_decoder=True, add_cross_attention=True,
    )  # fmt: skip
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(ViTConfig(**_VIT), decoder)
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 3, 0, 4
    model = VisionEncoderDecoderModel(config)
    size = {"height": SIDE, "width": SIDE}
    return model, ViTImageProcessorPil(size=size)


_MAKERS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "text": lambda: _text_classes(**_labelled()),
    "reranker": lambda: _text_classes(num_labels=1),
    "image": lambda: _image_classes(**_labelled()),
    "efficientnet": _efficient,
    "clip": _clip,
    "siglip": _siglip,
    "dinov2": _dino,
    "vit": _vit,
    "blip": _blip,
    "git": _git,
    "vision-gpt2": _vision_gpt,
}
