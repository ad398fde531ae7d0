"""Tiny sentence models of steps that only Sentence Transformers computes."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from tests.folders import session_folder
from tests.tiny_models import WIDTH, make_tiny

PROMPTS = {"query": "a river ", "document": ""}
STEPS = ("dense", "static", "left out", "layers")


@cache
def make_steps(kind: str) -> Path:
    """A tiny model of these steps, saved by the library."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules
    from tokenizers import Tokenizer

    torch.manual_seed(2)
    folder = session_folder("tiny-steps-") / kind.replace(" ", "-")
    base = make_tiny(folder.parent / "base")
    if kind == "static":
        words = Tokenizer.from_file(str(base / "tokenizer.json"))
        steps: list[Any] = [modules.StaticEmbedding(words, embedding_dim=12)]
    else:
        after = {
            "dense": [modules.Dense(WIDTH, 8), modules.Normalize()],
            "left out": [],
            "layers": [modules.LayerNorm(WIDTH), modules.Dropout(0.5)],
        }[kind]
        pooling = modules.Pooling(WIDTH, include_prompt=kind != "left out")
        steps = [modules.Transformer(str(base)), pooling, *after]
    SentenceTransformer(modules=steps, prompts=PROMPTS, device="cpu").save_pretrained(str(folder))
    return folder
