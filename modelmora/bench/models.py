"""Small models with random weights, one for each kind of engine, made in a process of its own.

`python -m modelmora.bench.models FOLDER`. Four layers of width 256, images of 64 x 64: a cold
start is what does not depend on their size.
"""

from __future__ import annotations

import sys
from base64 import b64decode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers as t
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "hello")
SIDE = 64
_TEXT: Mapping[str, Any] = {
    "vocab_size": 8000, "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4,
    "intermediate_size": 1024, "max_position_embeddings": 128, "pad_token_id": 0,
}  # fmt: skip
_VISION: Mapping[str, Any] = {
    "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4,
    "intermediate_size": 1024, "image_size": SIDE, "patch_size": 16,
}  # fmt: skip
_ENDS: Mapping[str, Any] = {"bos_token_id": 2, "eos_token_id": 3}
_GRAPH = (
    "CAhCAhAROlQKDgoBeAoBdxIBeSIDTXVsKhUIAxABQgF3SgwAAIA/AAAAQAAAQEBaEwoBeBIOCgwIARIICgIIAQoCCANi"
    "EwoBeRIOCgwIARIICgIIAQoCCAMSAWc="
)
"""y = x * [1, 2, 3], for x of [1, 3]."""


def tokenizer(words: Mapping[str, int], unknown: str, pad: str, **more: Any) -> Any:
    """One of whole words, as transformers takes it."""
    inner = Tokenizer(models.WordLevel(dict(words), unk_token=unknown))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return t.PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token=unknown, pad_token=pad, **more
    )


def _words() -> Any:
    numbers = {word: number for number, word in enumerate(WORDS)}
    ends = {"cls_token": "[CLS]", "sep_token": "[SEP]"}
    made = tokenizer(numbers, "[UNK]", "[PAD]", **ends)
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return made


def _bert(kind: Any, **more: Any) -> Any:
    return kind(t.BertConfig(**_TEXT, **more))


def _clip(folder: Path) -> None:
    config = t.CLIPConfig(text_config={**_TEXT, **_ENDS}, vision_config=dict(_VISION))
    t.CLIPModel(config).save_pretrained(folder)
    _pictures(t.CLIPImageProcessorPil, folder)


def _pictures(kind: Any, folder: Path) -> None:
    kind(size={"height": SIDE, "width": SIDE}, do_center_crop=False).save_pretrained(folder)


def _classes(folder: Path) -> None:
    _bert(t.BertForSequenceClassification).save_pretrained(folder)


def _images(folder: Path) -> None:
    t.ViTForImageClassification(t.ViTConfig(**_VISION)).save_pretrained(folder)
    _pictures(t.ViTImageProcessorPil, folder)


def _rerank(folder: Path) -> None:
    _bert(t.BertForSequenceClassification, num_labels=1).save_pretrained(folder)


def _captions(folder: Path) -> None:
    config = t.GitConfig(vision_config=dict(_VISION), **_ENDS, **_TEXT)
    t.GitForCausalLM(config).save_pretrained(folder)
    _pictures(t.CLIPImageProcessorPil, folder)


def _text(folder: Path) -> None:
    config = {**_TEXT, "max_position_embeddings": 512, **_ENDS}
    t.LlamaForCausalLM(t.LlamaConfig(**config)).save_pretrained(folder)


def _library(folder: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules

    inner = folder / "inner"
    _bert(t.BertModel).save_pretrained(inner)
    _words().save_pretrained(inner)
    width = int(_TEXT["hidden_size"])
    steps = [modules.Transformer(str(inner)), modules.Pooling(width), modules.Dense(width, 64)]
    SentenceTransformer(modules=steps, device="cpu").save_pretrained(str(folder))


def _drawing(folder: Path) -> None:
    import diffusers as d

    unet = d.UNet2DConditionModel(
        sample_size=SIDE // 8, layers_per_block=1, block_out_channels=(32, 64), norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=64, attention_head_dim=8,
    )  # fmt: skip
    coder = d.AutoencoderKL(
        block_out_channels=(32,) * 4, down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4, sample_size=SIDE,
    )  # fmt: skip
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128}
    text = t.CLIPTextConfig(vocab_size=len(WORDS), pad_token_id=3, **sizes, **_ENDS)
    words = {"[UNK]": 0, "hello</w>": 1, "[CLS]": 2, "[SEP]": 3}
    special = {"bos_token": "[CLS]", "eos_token": "[SEP]", "unk_token": "[UNK]"}
    d.StableDiffusionPipeline(
        vae=coder, text_encoder=t.CLIPTextModel(text), unet=unet, scheduler=d.DDIMScheduler(),
        tokenizer=t.CLIPTokenizer(vocab=words, merges=[], model_max_length=77, **special),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip


def _graph(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b64decode(_GRAPH))


MAKERS: Mapping[str, Callable[[Path], None]] = {
    "library": _library,
    "classes": _classes,
    "images": _images,
    "clip": _clip,
    "rerank": _rerank,
    "captions": _captions,
    "drawing": _drawing,
    "tensor": _graph,
    "text": _text,
}


def main(folder: Path) -> None:
    """Make them all; each in a folder of its name."""
    torch.manual_seed(0)
    for name, make in MAKERS.items():
        (own := folder / name).mkdir()
        make(own)
        if name not in ("library", "drawing", "tensor"):
            _words().save_pretrained(own)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
