"""The release before this one, built from this repository's history, and its processes."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import zipfile
from io import BytesIO
from pathlib import Path

from tests.programs import ROOT

BEFORE_TAGS = "0b0ae4a16f3d86a45d428b9cbc03bd0241323838"
"""What counts as the release before, as long as no tag says it."""


def last_release() -> str | None:
    """The commit of the last release before this checkout; None where the history lacks it."""
    here = _git("rev-parse", "HEAD")
    tags = _git("tag", "--merged", "HEAD", "--sort=-v:refname", "--list", "v*").split()
    for name in (*tags, BEFORE_TAGS):
        commit = _git("rev-parse", "--quiet", "--verify", f"{name}^{{commit}}")
        if commit and commit != here:
            return commit
    return None


def installed(commit: str, folder: Path) -> Path:
    """Where its packages lie, as they are installed; what they need is what this release needs."""
    archive = subprocess.run(
        ["git", "archive", commit], cwd=ROOT, check=True, capture_output=True
    ).stdout
    source, made, place = folder / "source", folder / "made", folder / "place"
    with tarfile.open(fileobj=BytesIO(archive)) as files:
        files.extractall(source, filter="data")
    words = [sys.executable, "-m", "build", "--no-isolation", "--wheel"]
    done = subprocess.run(
        [*words, "--outdir", made, source], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = made.iterdir()
    with zipfile.ZipFile(wheel) as files:
        files.extractall(place)
    return place


def variables(place: Path) -> set[str]:
    """The variables of all settings that a release knows, by the schema that it ships."""
    schema = json.loads((place / "modelmora" / "settings" / "schema.json").read_text())
    found = set[str]()
    for name, told in schema["properties"].items():
        found.add(f"MODELMORA_{name}".upper())
        section = schema.get("$defs", {}).get(told.get("$ref", "").rpartition("/")[2], told)
        inner = section.get("properties", {})
        found |= {f"MODELMORA_{name}__{each}".upper() for each in inner}
    return found


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
