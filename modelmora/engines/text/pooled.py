"""What a GGUF file tells of a model that makes vectors of texts, or scores of pairs of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modelmora.engines.files import ModelFiles, broken
from modelmora.engines.text.files import SLOTS, GgufModel, read_gguf_model, room_for
from modelmora.engines.text.gguf_files import GgufHeader
from modelmora.messages import DeviceKind

VECTORS_ENGINE = "modelmora.engines.text.vectors:GgufVectors"
SCORES_ENGINE = "modelmora.engines.text.vectors:GgufScores"
LONGEST = 8192
"""Tokens of a text at most, since all of them are computed at once."""
# `<architecture>.pooling_type`, as llama.cpp numbers it; 0 is none.
_MEAN, _CLS, _LAST, _RANK = 1, 2, 3, 4
_ENCODERS = (
    "bert", "eurobert", "gemma-embedding", "jina-bert-v2", "jina-bert-v3", "llama-embed",
    "modern-bert", "neo-bert", "nomic-bert", "nomic-bert-moe",
)  # fmt: skip
"""Architectures that say nothing but vectors."""
_SHARES = ("qwen3", "qwen3vl")
"""Of these llama.cpp gives the probability of the first of several labels, `yes`."""
_SINGLE = 4


@dataclass(frozen=True, slots=True)
class PooledModel:
    """A GGUF model of texts, and what it takes at once: `tokens` of one, `slots` texts together."""

    model: GgufModel
    width: int
    """Of a vector."""
    tokens: int
    slots: int
    pool: int
    """Tokens of all texts that are computed together."""
    bytes: int
    """What it reserves beside the weights; an estimate of llama.cpp's buffers."""
    shares: bool
    """Whether a score is a probability already."""


def task_of_gguf(header: GgufHeader) -> str:
    """The task that a GGUF file tells by how its tokens are pooled, else by its architecture."""
    pooling = _pooling(header)
    if pooling == _RANK:
        return "rerank"
    return "txt2embed" if pooling or header.architecture in _ENCODERS else "txt2txt"


def read_vectors(path: Path) -> ModelFiles:
    """What the node needs to know of a model of vectors. Raises LoadError."""
    read = read_pooled(path)
    facts = {"dimension": read.width, **_facts(read)}
    return _files(read, _SINGLE * read.width, VECTORS_ENGINE, facts)


def read_scores(path: Path) -> ModelFiles:
    """What the node needs to know of a reranker. Raises LoadError."""
    read = read_pooled(path, ranks=True)
    return _files(read, _SINGLE, SCORES_ENGINE, _facts(read))


def read_pooled(path: Path, *, ranks: bool = False) -> PooledModel:
    """The model of a folder or file, one that ranks or one of vectors. Raises LoadError."""
    model = read_gguf_model(path)
    header, pooling = model.header, _pooling(model.header)
    if ranks and pooling != _RANK:
        raise broken(f"{model.path.name} is no reranker: its pooling type is not `rank`")
    if ranks and not any(name.startswith("cls.") for name in header.outer):
        raise broken(f"{model.path.name} has no head (cls) that makes scores of texts")
    if not ranks and pooling not in (_MEAN, _CLS, _LAST):
        raise broken(
            f"{model.path.name} does not tell how the vectors of its tokens become one "
            "(a pooling type of mean, cls or last); is it an embedding model?"
        )
    told, width = header.number("context_length"), header.number("embedding_length")
    if told is None or width is None:
        raise broken(f"{model.path.name} does not tell its context length, or that of its vectors")
    tokens = min(told, LONGEST)
    slots, pool, cache = SLOTS, SLOTS * tokens, 0
    if header.values.get(f"{header.architecture}.attention.causal", True):
        room = room_for(tokens, model.token_bytes, model.bytes)
        tokens, pool = room.context - 1, room.pool  # llama.cpp keeps the place of an answer
        slots = max(1, min(SLOTS, pool // room.context))
        cache = pool * model.token_bytes
    inner = header.number("feed_forward_length") or 4 * width
    work = tokens * (tokens + 8 * width + 2 * inner) * _SINGLE
    labels = header.lengths.get(f"{header.architecture}.classifier.output_labels", 1)
    if ranks and labels > 1 and header.architecture not in _SHARES:
        raise broken(f"the model gives {labels} scores; a reranker gives one")
    width = header.number("embedding_length_out") or width
    return PooledModel(model, width, tokens, slots, pool, cache + work, labels > 1)


def _pooling(header: GgufHeader) -> int | None:
    return header.number("pooling_type")


def _facts(read: PooledModel) -> dict[str, object]:
    return {"max_tokens": read.tokens, "architecture": read.model.header.architecture}


def _files(read: PooledModel, row: int, engine: str, facts: dict[str, object]) -> ModelFiles:
    return ModelFiles(
        read.model.bytes,
        row,
        engine,
        facts=facts,
        cache_bytes=read.bytes,
        devices=(DeviceKind.CPU,),
    )
