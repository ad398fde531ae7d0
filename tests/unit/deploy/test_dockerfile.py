"""Dockerfile: its targets, and that what it installs is what the gateway and the nodes need."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[3]
GATEWAY_BYTES = 180 << 20
"""Of a gateway's files, before what nobody needs is taken away."""


class Stage(NamedTuple):
    """What is said between one FROM and the next."""

    base: str
    words: list[tuple[str, str]]

    def all(self, word: str) -> list[str]:
        return [rest for said, rest in self.words if said == word]


@pytest.fixture(scope="module")
def stages() -> dict[str, Stage]:
    text = re.sub(r"\\\n\s*", " ", (ROOT / "Dockerfile").read_text())
    found: dict[str, Stage] = {}
    words: list[tuple[str, str]] = []
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        word, rest = line.split(maxsplit=1)
        if word == "FROM":
            base, name = rest.split(" AS ")
            words = []
            found[name] = Stage(base, words)
        else:
            words.append((word, rest))
    return found


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    told: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return told


def installed(stages: dict[str, Stage], target: str) -> list[str]:
    """The arguments of what installs a target's files."""
    (copied,) = stages[target].all("COPY")
    source = re.fullmatch(r"--from=(\S+) /opt/modelmora /opt/modelmora", copied)
    assert source
    return shlex.split(stages[source[1]].all("RUN")[0])


def test_targets(stages: dict[str, Stage]) -> None:
    assert [name for name, stage in stages.items() if stage.base == "run"] == [
        "gateway",
        "node-cuda",
        "node-cpu",
    ]
    assert [*stages][-1] == "node-cpu", "what is built where none is named"


def test_nobody_is_root_and_a_fixed_base(stages: dict[str, Stage]) -> None:
    assert stages["run"].all("USER") == ["10001:10001"]
    assert not any(stages[name].all("USER") for name in ("gateway", "node-cpu", "node-cuda"))
    bases = {stage.base for stage in stages.values()}
    assert bases == {"debian:${DEBIAN}-slim", "python", "source", "run"}


def test_version_is_the_packages(stages: dict[str, Stage], project: dict[str, Any]) -> None:
    labels = stages["run"].all("LABEL")[0]
    assert f'image.version="{project["version"]}"' in labels
    assert f'image.licenses="{project["license"]}"' in labels


@pytest.mark.parametrize("target", ["gateway", "node-cpu", "node-cuda"])
def test_extras_are_there(stages: dict[str, Stage], project: dict[str, Any], target: str) -> None:
    (extras,) = re.findall(r"/src\[(.*)\]", " ".join(installed(stages, target)))
    assert {*extras.split(",")} <= project["optional-dependencies"].keys()
    assert ("node" in extras) == (target != "gateway")


def test_files_that_are_copied_are_there(stages: dict[str, Stage]) -> None:
    for copied in stages["source"].all("COPY"):
        *names, _ = copied.split()
        assert all((ROOT / each).exists() for each in names), copied


@pytest.mark.faults
def test_what_a_gateways_image_installs_is_a_gateway(
    stages: dict[str, Stage], tmp_path: Path
) -> None:
    """The step of the file itself, into a folder of our own; it asks for packages."""
    place = tmp_path / "modelmora"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    program, *arguments = installed(stages, "gateway")
    assert program == "uv"
    arguments = [each.replace("/src", str(ROOT)) for each in arguments]
    own = {
        "UV_PYTHON": str(place / "bin/python"),
        "UV_CONSTRAINT": str(ROOT / "requirements.lock"),
        "UV_COMPILE_BYTECODE": "1",
    }
    environment = {**os.environ, **own}
    subprocess.run([sys.executable, "-m", "uv", *arguments], check=True, env=environment)
    size = sum(each.stat().st_size for each in place.rglob("*") if each.is_file())
    assert size < GATEWAY_BYTES
    looked = "import importlib.util as u, modelmora.gateway; print(u.find_spec('torch'))"
    told = subprocess.run(
        [place / "bin/python", "-c", looked], check=True, cwd=tmp_path, capture_output=True
    )
    assert told.stdout.strip() == b"None"
    subprocess.run([place / "bin/modelmora", "serve", "--help"], check=True, capture_output=True)
