"""Licences at install: asked for at a terminal, never waited for elsewhere."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.runs import Cli
from tests.unit.registry.models import make_model

GPL = "GNU GENERAL PUBLIC LICENSE\nVersion 3, 29 June 2007\n"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = make_model(tmp_path / "m")
    (folder / "LICENSE").write_text(GPL)
    return folder


def at_a_terminal(folder: Path, answer: str) -> tuple[int, str]:
    """Exit code and what is to be read, where a person answers."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "modelmora.cli", "install", "./m", "--json"]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder)
    os.close(theirs)
    read = b""
    while b"[y/N]" not in read:
        read += os.read(ours, 4096)
    os.write(ours, answer.encode())
    while True:
        try:
            read += os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
    os.close(ours)
    return process.wait(60), read.decode()


@pytest.mark.parametrize(
    ("answer", "code", "told"),
    [("y\n", 0, '"confirmed_by"'), ("\n", 2, "was not accepted"), ("\x04", 2, "was not accepted")],
)
def test_a_person_is_asked_and_the_answer_noted(
    model: Path, answer: str, code: int, told: str
) -> None:
    assert (model / "LICENSE").exists()
    ran, read = at_a_terminal(model.parent, answer)
    assert "is under the licence GPL (from LICENSE)." in read
    assert told in read
    assert ran == code
    assert (model.parent / ".modelmora/models/m/1.yaml").exists() is (code == 0)


def test_a_script_is_told_what_to_pass_and_waits_for_nobody(cli: Cli, model: Path) -> None:
    ran = cli("install", f"./{model.name}")
    assert ran.code == 0
    assert "licence GPL (accepted by nobody; see --accept-licence GPL)" in ran.err
    Path("modelmora.yaml").write_text("registry: {require_licence: true}\n")
    ran = cli("install", f"./{model.name}")
    assert (ran.code, ran.out) == (2, "")
    assert "nobody has accepted its licence GPL" in ran.err
    assert "pass --accept-licence GPL" in ran.err
    assert cli("install", f"./{model.name}", "--accept-licence", "gpl").code == 0
    again = cli("install", f"./{model.name}", "--json")
    assert (again.code, again.json["licence"]["name"]) == (0, "GPL"), "it was accepted before"
    assert again.json["licence"]["confirmed_at"].endswith("Z")
