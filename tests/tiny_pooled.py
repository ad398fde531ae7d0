"""A tiny BERT of random weights with a head for one score, in the forms of torch and of GGUF."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "river", "sky", "is", "blue", "##s")
CLS, SEP = WORDS.index("[CLS]"), WORDS.index("[SEP]")
TOKENS, WIDTH = 64, 32
_LAYERS, _INNER = 2, 64
_PARTS = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}


@cache
def bert() -> Any:
    """The model as transformers has it."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=WIDTH,
        num_hidden_layers=_LAYERS,
        num_attention_heads=2,
        intermediate_size=_INNER,
        max_position_embeddings=TOKENS,
        num_labels=1,
        initializer_range=0.3,
    )
    torch.manual_seed(2)
    return BertForSequenceClassification(config).eval()


def ids(*words: str) -> list[int]:
    return [WORDS.index(word) for word in words]


def write_bert(path: Path, pooling: int | None, *, head: bool = False, labels: int = 0) -> Path:
    """The same weights as one GGUF file."""
    from gguf import GGUFWriter, PoolingType

    path.parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(path, "bert")
    writer.add_context_length(TOKENS)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(_INNER)
    writer.add_block_count(_LAYERS)
    writer.add_head_count(2)
    writer.add_layer_norm_eps(bert().config.layer_norm_eps)
    writer.add_causal_attention(value=False)
    if pooling is not None:
        writer.add_pooling_type(PoolingType(pooling))
    if labels:
        writer.add_array("bert.classifier.output_labels", [f"l{n}" for n in range(labels)])
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([_told(word) for word in WORDS])
    writer.add_token_types([3 if word[0] == "[" else 1 for word in WORDS])  # control, normal
    writer.add_token_scores([0.0] * len(WORDS))
    writer.add_token_type_count(2)
    writer.add_pad_token_id(0)
    writer.add_unk_token_id(1)
    writer.add_bos_token_id(CLS)
    writer.add_eos_token_id(SEP)
    writer.add_sep_token_id(SEP)
    writer.add_mask_token_id(4)
    weights = bert().state_dict()
    for theirs, ours in _names(head=head).items():
        writer.add_tensor(ours, weights[theirs].numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _told(word: str) -> str:
    """GGUF marks the begin of words instead of their continuation."""
    if word[0] == "[":
        return word
    return word[2:] if word[:2] == "##" else f"\N{LOWER ONE EIGHTH BLOCK}{word}"


def _names(*, head: bool) -> dict[str, str]:
    table = "bert.embeddings"
    names = {
        f"{table}.word_embeddings.weight": "token_embd.weight",
        f"{table}.position_embeddings.weight": "position_embd.weight",
        f"{table}.token_type_embeddings.weight": "token_types.weight",
    }
    for kind in ("weight", "bias"):
        names[f"{table}.LayerNorm.{kind}"] = f"token_embd_norm.{kind}"
        for layer in range(_LAYERS):
            for theirs, ours in _PARTS.items():
                names[f"bert.encoder.layer.{layer}.{theirs}.{kind}"] = f"blk.{layer}.{ours}.{kind}"
        if head:
            names[f"bert.pooler.dense.{kind}"] = f"cls.{kind}"
            names[f"classifier.{kind}"] = f"cls.output.{kind}"
    return names
