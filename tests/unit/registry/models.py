"""Folders that look like models, and the definitions that settings make."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from modelmora.errors import ConfigurationError
from modelmora.registry import ModelDefinition, served_or_faults
from modelmora.settings import Settings

ROWS, WIDTH = 8, 16
CONFIG = {"hidden_size": WIDTH, "vocab_size": ROWS}
TOKENIZER = {"model": {"vocab": {f"word{number}": number for number in range(ROWS)}}}
_STEPS = [{"path": "", "type": "sentence_transformers.models.Transformer"}]


def safetensors(**tensors: tuple[int, ...]) -> bytes:
    """A safetensors file of FP32 tensors of these shapes, all zero."""
    header: dict[str, Any] = {}
    end = 0
    for name, shape in tensors.items():
        begin, end = end, end + 4
        for size in shape:
            end = begin + (end - begin) * size
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(end)


WEIGHTS = safetensors(**{"embeddings.word_embeddings.weight": (ROWS, WIDTH), "norm.bias": (WIDTH,)})


def make_model(folder: Path, *, embeds: bool = True) -> Path:
    """A folder with all that is looked at before a load, and, if it embeds, a modules.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    if embeds:
        (folder / "modules.json").write_text(json.dumps(_STEPS))
    return folder


def served(settings: Settings) -> tuple[ModelDefinition, ...]:
    """The models of these settings. Raises ConfigurationError at the first broken definition."""
    found = served_or_faults(settings)
    for fault in (*found.faults, *(each.fault for each in found.definitions)):
        if fault:
            raise ConfigurationError(fault)
    return found.definitions
