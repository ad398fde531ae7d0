"""What is shipped: every package, every data file, nothing else; and the lock that installs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
LOCKED_EXTRAS = ("node", "engines", "broker", "dev")
MAPPED = {"modelmora.agents": "agents", "modelmora.schemas": "schemas"}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def tracked_files() -> list[str]:
    """Files of the checkout that git does not ignore, as paths below its root."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [path for path in listing.stdout.split("\0") if path and (ROOT / path).exists()]


def copy_checkout(target: Path) -> None:
    """A fresh checkout: what is built from it cannot pick up leftovers of earlier builds."""
    for path in tracked_files():
        copied = target / path
        copied.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / path).is_symlink():
            copied.symlink_to((ROOT / path).readlink())
        else:
            copied.write_bytes((ROOT / path).read_bytes())


def build(source: Path, target: Path, kind: str) -> Path:
    """Build `source` without network; returns the one file made."""
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", kind, "--outdir", target, source],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = target.iterdir()
    return made


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkout")
    copy_checkout(folder)
    return folder


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Path to bytes of everything in the wheel that is built from a checkout."""
    return contents(build(checkout, tmp_path_factory.mktemp("wheel"), "--wheel"))


def packages_in(name: str, folder: str) -> set[str]:
    """The packages below a folder that is called `name`; links are not followed."""
    paths = (
        Path(found).relative_to(ROOT / folder)
        for found, _, files in os.walk(ROOT / folder)
        if "__init__.py" in files
    )
    return {".".join((name, *path.parts)) for path in paths}


def test_every_package_is_listed(project: dict[str, Any]) -> None:
    found = packages_in("modelmora", "modelmora") | set(MAPPED)
    for name, folder in MAPPED.items():
        found |= packages_in(name, folder)
    listed = project["tool"]["setuptools"]["packages"]
    assert set(listed) == found
    assert len(listed) == len(set(listed))


def test_every_folder_with_code_is_a_package() -> None:
    folders = {path.parent for path in (ROOT / "modelmora").rglob("*.py")}
    assert [str(f) for f in sorted(folders) if not (f / "__init__.py").is_file()] == []


def test_agents_is_linked() -> None:
    link = ROOT / "modelmora" / "agents"
    assert link.is_symlink()
    assert str(link.readlink()) == "../agents"


def test_wheel_holds_the_code_and_nothing_else(wheel: dict[str, bytes]) -> None:
    code = {
        (f"modelmora/{path}" if path.startswith(("agents/", "schemas/")) else path)
        for path in tracked_files()
        if path.endswith(".py") and path.startswith(("modelmora/", "agents/", "schemas/"))
    }
    assert {name for name in wheel if name.endswith(".py")} == code
    tops = {name.split("/")[0] for name in wheel}
    assert {top.partition("-")[0] for top in tops} == {"modelmora"}


def test_wheel_holds_the_data(wheel: dict[str, bytes]) -> None:
    schemas = {f"modelmora/schemas/{p.name}" for p in (ROOT / "schemas").glob("*.avsc")}
    assert len(schemas) == 11
    expected = schemas | {
        "modelmora/broker/jars.sha256",
        "modelmora/py.typed",
        "modelmora/schemas/history.json",
    }
    assert expected <= set(wheel)
    licences = [name for name in wheel if name.endswith("/licenses/LICENSE")]
    assert len(licences) == 1


def test_wheel_from_sdist_is_the_same(
    wheel: dict[str, bytes], checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sdist = build(checkout, tmp_path_factory.mktemp("sdist"), "--sdist")
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    (source,) = unpacked.iterdir()
    assert (source / "tests" / "test_packaging.py").is_file()
    assert (source / "Makefile").is_file()
    again = contents(build(source, tmp_path_factory.mktemp("again"), "--wheel"))
    assert again == wheel


def locked() -> dict[str, list[Version]]:
    pins = re.findall(
        r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE
    )
    versions: dict[str, list[Version]] = {}
    for name, version in pins:
        versions.setdefault(canonicalize_name(name), []).append(Version(version))
    return versions


def required(project: dict[str, Any], extras: Iterable[str]) -> Iterator[Requirement]:
    """What these extras ask for, those that they name among our own too."""
    for extra in extras:
        for line in map(Requirement, project["project"]["optional-dependencies"][extra]):
            if line.name == project["project"]["name"]:
                yield from required(project, line.extras)
            else:
                yield line


def test_the_client_asks_for_no_model_library(project: dict[str, Any]) -> None:
    """Neither the package nor its extra `client` does, nor what those ask for in turn."""
    lines = [*map(Requirement, project["project"]["dependencies"]), *required(project, ["client"])]
    asked = {canonicalize_name(line.name) for line in lines}
    heavy = {"torch", "transformers", "diffusers", "onnxruntime", "faust-streaming"}
    assert {"numpy", "pillow"} <= asked
    assert not asked & heavy
    pulled, left = set[str](), [*asked]
    while left:
        name = left.pop()
        if name in pulled:
            continue
        pulled.add(name)
        with suppress(PackageNotFoundError):
            needs = (Requirement(each) for each in requires(name) or ())
            left += [
                canonicalize_name(each.name)
                for each in needs
                if each.marker is None or each.marker.evaluate({"extra": ""})
            ]
    assert not pulled & heavy


def test_lock_meets_the_project(project: dict[str, Any]) -> None:
    lines = [*map(Requirement, project["project"]["dependencies"])]
    versions = locked()
    unmet = [
        line
        for line in [*lines, *required(project, LOCKED_EXTRAS)]
        if not any(
            line.specifier.contains(v) for v in versions.get(canonicalize_name(line.name), ())
        )
    ]
    assert [str(line) for line in unmet] == [], "run `make lock`"


@pytest.mark.parametrize(
    "name", ["requirements.lock", "requirements-models.lock", "requirements-setup.lock"]
)
def test_locks_pin_hashes_and_name_no_host(name: str) -> None:
    text = (ROOT / name).read_text()
    entries = re.split(r"\n(?=\S)", text.strip())
    assert entries
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in text
