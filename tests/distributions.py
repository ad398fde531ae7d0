"""Tiny distributions, installed into a folder by writing what an installer would."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def install_distribution(
    folder: Path, name: str, engines: Mapping[str, str], files: Mapping[str, str]
) -> None:
    """A distribution with these entry points of `modelmora.engines` and these modules."""
    about = folder / f"{name}-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    points = "\n".join(f"{point} = {value}" for point, value in engines.items())
    (about / "entry_points.txt").write_text(f"[modelmora.engines]\n{points}\n")
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
