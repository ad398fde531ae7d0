"""Folders that look like models."""

from __future__ import annotations

from pathlib import Path


def make_model(folder: Path, *, embeds: bool = True) -> Path:
    """A folder with a configuration, 8 bytes of weights and, if it embeds, a modules.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(8))
    if embeds:
        (folder / "modules.json").write_text("[]")
    return folder
