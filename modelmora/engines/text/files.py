"""Reads what a text model's own files say: which engine, how long a context, how many at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from glob import escape
from math import prod
from pathlib import Path
from typing import Any

from modelmora.engines.files import ModelFiles, broken, read_json, read_weights
from modelmora.engines.sentences.sentence import CONFIG, check_safe
from modelmora.engines.text.gguf_files import GgufHeader, read_gguf

GGUF = "*.gguf"
GGUF_ENGINE = "modelmora.engines.text.gguf:Gguf"
TRANSFORMER_ENGINE = "modelmora.engines.text.transformer:Transformer"
SLOTS = 16
SEEDS = 1 << 32
"""llama.cpp's seeds have 32 bits; its largest stands for `choose one`, so we never pass it."""
LORAS = "loras"
"""The folder beside a model's files whose adapters requests may name."""
Reader = Callable[[Path], ModelFiles]
_SPLIT = re.compile(r"^(.*)-(\d{5})-of-(\d{5})$")
_HALF, _SINGLE = 2, 4
# What the tokens of all requests in progress may take, as a share of the weights and within these.
_LEAST_CACHE, _MOST_CACHE = 256 << 20, 2 << 30


@dataclass(frozen=True, slots=True)
class Room:
    """Tokens that a model takes: of one request, and of all those in progress together."""

    context: int
    pool: int


@dataclass(frozen=True, slots=True)
class GgufModel:
    """The files of a GGUF model: `path` is its first part."""

    path: Path
    header: GgufHeader
    bytes: int
    projector: Path | None
    adapters: Mapping[str, Path]

    @property
    def template(self) -> object:
        """How a conversation becomes a prompt, empty or None where it does not say so."""
        return self.header.values.get("tokenizer.chat_template")

    @property
    def token_bytes(self) -> int:
        """Of the cache, for one token in half precision; too many for what has fewer layers."""
        head = self.header
        layers, heads = head.number("block_count") or 1, head.number("attention.head_count") or 1
        found = head.values.get(f"{head.architecture}.attention.head_count_kv", heads)
        width = (head.number("embedding_length") or 1) // heads
        key = head.number("attention.key_length") or width
        value = head.number("attention.value_length") or width
        # No list of so many layers: how many there are is but a number in a file.
        each = [number for number in found if type(number) is int] if type(found) is list else []
        total = sum(each) or layers * (found if type(found) is int else heads)
        return max(1, total * (key + value) * _HALF)

    @property
    def room(self) -> Room:
        """What it takes at once."""
        told = self.header.number("context_length")
        if told is None:
            raise broken(f"{self.path.name} does not tell its context length")
        return room_for(told, self.token_bytes, self.bytes)


def room_for(context: int, token_bytes: int, weight_bytes: int) -> Room:
    """The cache is as large as the weights, within limits, and no larger than can be used."""
    cache = min(max(weight_bytes, _LEAST_CACHE), _MOST_CACHE)
    pool = min(cache // token_bytes, SLOTS * context)
    # llama.cpp counts in steps of 256.
    pool = max(256, pool // 256 * 256)
    return Room(min(context, pool), pool)


def is_gguf(path: Path) -> bool:
    """Whether a model is one of GGUF: that file, or a folder with such and no safetensors."""
    if path.is_file():
        return path.suffix == ".gguf"
    return any(path.glob(GGUF)) and not any(path.glob("*.safetensors"))


def by_form(gguf: Reader, other: Reader) -> Reader:
    """Reads the files of a model, whichever of the two forms they have."""

    def read(path: Path) -> ModelFiles:
        return gguf(path) if is_gguf(path) else other(path)

    return read


def read_files(path: Path) -> ModelFiles:
    """What the node needs to know of a text model before it is loaded. Raises LoadError."""
    if is_gguf(path):
        model = read_gguf_model(path)
        room, token = model.room, model.token_bytes
        weights = model.bytes
        facts: dict[str, Any] = {
            "context_length": room.context,
            "architecture": model.header.architecture,
            "reads_images": model.projector is not None,
        }
        engine = GGUF_ENGINE
    else:
        check_safe(path)
        config = read_json(path / CONFIG)
        _, shapes = read_weights(path)
        weights = sum(map(prod, shapes.values())) * _SINGLE  # computed in single precision
        token = token_bytes(config)
        room = room_for(context_of(config), token, weights)
        facts = {"context_length": room.context, "architecture": str(config.get("model_type"))}
        engine = TRANSFORMER_ENGINE
    facts |= {"slots": SLOTS}
    return ModelFiles(weights, engine=engine, cache_bytes=room.pool * token, facts=facts)


def context_of(config: Mapping[str, Any]) -> int:
    """The longest sequence that a transformers configuration allows. Raises LoadError."""
    for name in ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length"):
        if type(told := config.get(name)) is int and told > 0:
            return told
    raise broken(f"{CONFIG} does not tell the context length")


def token_bytes(config: Mapping[str, Any]) -> int:
    """Of the cache, for one token in single precision."""

    def number(*names: str) -> int:
        return next((told for name in names if type(told := config.get(name)) is int and told), 1)

    layers, heads = number("num_hidden_layers", "n_layer"), number("num_attention_heads", "n_head")
    kept = config.get("num_key_value_heads")
    width = config.get("head_dim")
    if type(width) is not int:
        width = number("hidden_size", "n_embd") // heads
    return max(1, 2 * layers * (kept if type(kept) is int else heads) * width * _SINGLE)


def read_gguf_model(path: Path) -> GgufModel:
    """The one model of a folder, with its projector and adapters; or that of one file, alone.

    Raises LoadError.
    """
    models: dict[str, list[tuple[Path, GgufHeader]]] = {}
    projectors: list[Path] = []
    adapters: dict[str, Path] = {}
    for file in sorted(_ggufs(path)):
        header = read_gguf(file)
        if header.values.get("general.type") == "adapter":
            adapters[file.stem] = file
        elif header.architecture == "clip":
            projectors.append(file)
        elif file.parent.name != LORAS:
            parts = _SPLIT.match(file.stem)
            models.setdefault(parts[1] if parts else file.stem, []).append((file, header))
    if len(models) != 1 or len(projectors) > 1:
        raise broken(
            f"the folder holds {len(models)} GGUF models and {len(projectors)} projectors; "
            "leave one model and at most one projector"
        )
    [files] = models.values()
    first, header = files[0]
    _check_parts(files)
    return GgufModel(
        first,
        header,
        sum(each.bytes for _, each in files) + sum(each.stat().st_size for each in projectors),
        projectors[0] if projectors else None,
        adapters,
    )


def _ggufs(path: Path) -> Iterable[Path]:
    if path.is_dir():
        return (*path.glob(GGUF), *(path / LORAS).glob(GGUF))
    parts = _SPLIT.match(path.stem)
    return path.parent.glob(f"{escape(parts[1])}-*-of-{parts[3]}.gguf") if parts else (path,)


def _check_parts(files: list[tuple[Path, GgufHeader]]) -> None:
    first, header = files[0]
    count = header.values.get("split.count", 0)
    named = _SPLIT.match(first.stem)
    if not count and not named:
        if not header.tensors:
            raise broken(f"{first.name} holds no tensors")
        return
    if not named or count != int(named[3]) or len(files) != count:
        raise broken(f"of the {count} parts of {first.name} there are {len(files)}")
    told, there = header.values.get("split.tensors.count"), sum(h.tensors for _, h in files)
    if told != there:
        raise broken(f"the parts of {first.name} have {there} tensors of {told}")
