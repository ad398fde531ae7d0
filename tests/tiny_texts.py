"""Text models of a few kilobytes with random weights, made on the spot; their answers are noise."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from shutil import copytree
from typing import Any

from tests.folders import session_folder

CONTEXT = 128
TEMPLATE = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}{% endfor %}<assistant>"
)
TOOL_TEMPLATE = "{% for tool in tools or [] %}{{ tool.function.name }}{% endfor %}" + TEMPLATE
_WIDTH, _LAYERS, _HEADS = 32, 2, 2


def make_tiny_text(folder: Path) -> Path:
    """A Llama of safetensors with a byte-level tokenizer and a chat template."""
    copytree(_made(), folder)
    return folder


def make_tiny_gguf(folder: Path, **values: Any) -> Path:
    """A Llama in one GGUF file, with tokens for bytes; `values` are written too."""
    folder.mkdir(parents=True)
    write_gguf(folder / "tiny.gguf", **values)
    return folder


@cache
def _made() -> Path:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = session_folder("tiny-text-")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the")]
    words = ["</s>", *letters, *("".join(pair) for pair in merges)]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", chat_template=TEMPLATE
    )
    fast.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=_WIDTH,
        intermediate_size=2 * _WIDTH,
        num_hidden_layers=_LAYERS,
        num_attention_heads=_HEADS,
        num_key_value_heads=1,
        max_position_embeddings=CONTEXT,
        bos_token_id=None,
        eos_token_id=0,
        initializer_range=0.3,  # wide, so that random weights do not all say the same
    )
    torch.manual_seed(3)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def write_gguf(path: Path, **values: Any) -> Path:
    """The file itself."""
    import numpy as np
    from gguf import GGUFWriter

    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁the", "▁"]
    kinds = [2, 3, 3, *[6] * 256, 1, 1]  # unknown, control, control, bytes, normal
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(_WIDTH)
    writer.add_block_count(_LAYERS)
    writer.add_feed_forward_length(2 * _WIDTH)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(_WIDTH // _HEADS)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    for name, value in values.items():
        add = writer.add_uint32 if isinstance(value, int) else writer.add_string
        add(name.replace("__", "."), value)
    half, numbers = _WIDTH // _HEADS, np.random.default_rng(5)
    shapes = {
        "token_embd.weight": (len(tokens), _WIDTH),
        "output_norm.weight": (_WIDTH,),
        "output.weight": (len(tokens), _WIDTH),
    }
    for layer in range(_LAYERS):
        shapes |= {
            f"blk.{layer}.attn_norm.weight": (_WIDTH,),
            f"blk.{layer}.attn_q.weight": (_WIDTH, _WIDTH),
            f"blk.{layer}.attn_k.weight": (half, _WIDTH),
            f"blk.{layer}.attn_v.weight": (half, _WIDTH),
            f"blk.{layer}.attn_output.weight": (_WIDTH, _WIDTH),
            f"blk.{layer}.ffn_norm.weight": (_WIDTH,),
            f"blk.{layer}.ffn_gate.weight": (2 * _WIDTH, _WIDTH),
            f"blk.{layer}.ffn_up.weight": (2 * _WIDTH, _WIDTH),
            f"blk.{layer}.ffn_down.weight": (_WIDTH, 2 * _WIDTH),
        }
    for name, shape in shapes.items():
        values_of = numbers.standard_normal(shape).astype("f4") * 0.3
        writer.add_tensor(name, np.ones(shape, "f4") if "norm" in name else values_of)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_projector(path: Path) -> None:
    """What makes 4 tokens of `make_tiny_gguf`'s model of an image (LLaVA 1.5 in small)."""
    import numpy as np
    from gguf import GGUFWriter

    inner, side = 16, 14
    writer = GGUFWriter(path, "clip")
    writer.add_clip_has_vision_encoder(value=True)
    writer.add_clip_projector_type("mlp")
    writer.add_vision_image_size(2 * side)
    writer.add_vision_patch_size(side)
    writer.add_vision_embedding_length(inner)
    writer.add_vision_feed_forward_length(2 * inner)
    writer.add_vision_block_count(1)
    writer.add_vision_head_count(2)
    writer.add_vision_projection_dim(_WIDTH)
    writer.add_vision_attention_layernorm_eps(1e-5)
    writer.add_vision_image_mean([0.5] * 3)
    writer.add_vision_image_std([0.5] * 3)
    writer.add_vision_use_gelu(value=True)
    shapes: dict[str, tuple[int, ...]] = {
        "v.class_embd": (inner,),
        "v.patch_embd.weight": (inner, 3, side, side),
        "v.position_embd.weight": (5, inner),
        "mm.0.weight": (_WIDTH, inner),
        "mm.0.bias": (_WIDTH,),
        "mm.2.weight": (_WIDTH, _WIDTH),
        "mm.2.bias": (_WIDTH,),
    }
    for name, shape in (
        ("v.pre_ln", (inner,)),
        ("v.blk.0.ln1", (inner,)),
        ("v.blk.0.ln2", (inner,)),
        *((f"v.blk.0.attn_{part}", (inner, inner)) for part in ("q", "k", "v", "out")),
        ("v.blk.0.ffn_up", (2 * inner, inner)),
        ("v.blk.0.ffn_down", (inner, 2 * inner)),
    ):
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    numbers = np.random.default_rng(7)
    for name, shape in shapes.items():
        values = numbers.standard_normal(shape).astype("f4") * 0.5
        writer.add_tensor(name, np.ones(shape, "f4") if "ln" in name else values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_lora(path: Path) -> Path:
    """An adapter of `make_tiny_gguf`'s model that changes much."""
    import numpy as np
    from gguf import GGUFWriter

    path.parent.mkdir(parents=True)
    writer = GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 4.0)
    numbers = np.random.default_rng(1)
    name = "blk.1.ffn_down.weight"
    writer.add_tensor(f"{name}.lora_a", numbers.standard_normal((2, 2 * _WIDTH)).astype("f4"))
    writer.add_tensor(f"{name}.lora_b", numbers.standard_normal((_WIDTH, 2)).astype("f4"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
