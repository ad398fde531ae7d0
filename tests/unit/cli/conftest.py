"""The command in an empty folder, as every test of this room uses it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.cli.runs import Cli


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs `modelmora` in an empty folder, 80 columns wide, none of its variables set."""
    for name in list(os.environ):
        if name.startswith("MODELMORA_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    return Cli(capsys)
