"""Sentence models of a few kilobytes with random weights, made on the spot."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from shutil import copytree
from typing import Any

from tests.folders import session_folder

KINDS = ("bert", "distilbert", "mpnet", "roberta", "xlm-roberta")
PLACES = 66
"""`max_position_embeddings` of every tiny model."""
WIDTH = 16
WORDS = ("[PAD]", "<pad>", "[UNK]", "[CLS]", "[SEP]", "a", "river", "queue")
_PAD = {"bert": "[PAD]", "distilbert": "[PAD]"}


def make_tiny(folder: Path, kind: str = "bert", **length: Any) -> Path:
    """A model of that kind; `length` is its sentence_bert_config.json."""
    copytree(_made(kind), folder)
    if length:
        (folder / "sentence_bert_config.json").write_text(json.dumps(length))
    return folder


@cache
def _made(kind: str) -> Path:
    import torch
    from transformers import AutoConfig, AutoModel

    folder = session_folder(f"tiny-{kind}-")
    sizes: dict[str, Any] = {"vocab_size": len(WORDS), "max_position_embeddings": PLACES}
    if kind == "distilbert":
        sizes |= {"dim": WIDTH, "n_layers": 1, "n_heads": 2, "hidden_dim": WIDTH}
    else:
        sizes |= {"hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2}
        sizes |= {"intermediate_size": WIDTH}
    pad = WORDS.index(_PAD.get(kind, "<pad>"))
    torch.manual_seed(1)
    model = AutoModel.from_config(AutoConfig.for_model(kind, **sizes, pad_token_id=pad))
    model.save_pretrained(folder)
    save_tokenizer(folder, WORDS[pad])
    (folder / "modules.json").write_text(
        json.dumps([{"path": "", "type": "sentence_transformers.models.Transformer"}])
    )
    return folder


def save_tokenizer(folder: Path, pad: str) -> None:
    """A tokenizer of `WORDS`."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(word, vocabulary[word]) for word in ("[CLS]", "[SEP]")],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    ).save_pretrained(folder)
