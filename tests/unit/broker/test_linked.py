"""Linked classes: made once, by one, and a start without them is only slower."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelmora.broker.linked import ensure_linked, linked_file
from modelmora.errors import ModelMoraError


@pytest.fixture
def java(tmp_path: Path) -> Path:
    (tmp_path / "jdk" / "bin").mkdir(parents=True)
    (tmp_path / "jdk" / "release").write_text("25.0.2+10")
    return tmp_path / "jdk" / "bin" / "java"


def test_another_jdk_or_class_path_has_another_file(java: Path, tmp_path: Path) -> None:
    files = {linked_file(java, "a.jar", tmp_path), linked_file(java, "b.jar", tmp_path)}
    assert linked_file(java, "a.jar", tmp_path) in files
    (tmp_path / "jdk" / "release").write_text("25.0.3+9")
    files.add(linked_file(java, "a.jar", tmp_path))
    assert len(files) == 3
    assert {file.parent for file in files} == {tmp_path / "linked"}


def test_one_of_many_makes_it(java: Path, tmp_path: Path) -> None:
    file, made = linked_file(java, "a.jar", tmp_path), []

    def train(path: Path) -> None:
        made.append(path)
        path.write_bytes(b"linked")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: ensure_linked(file, train), range(8)))
    assert len(made) == 1
    assert file.read_bytes() == b"linked"
    assert not made[0].parent.exists()


@pytest.mark.parametrize("fault", [ModelMoraError("it ended"), OSError("disk full"), None])
def test_a_training_that_fails_leaves_nothing(
    java: Path, tmp_path: Path, fault: Exception | None
) -> None:
    file = linked_file(java, "a.jar", tmp_path)

    def train(path: Path) -> None:
        if fault:
            path.write_bytes(b"half of it")
            raise fault

    ensure_linked(file, train)
    assert {path.name for path in file.parent.iterdir()} == {".lock"}


def test_a_folder_that_cannot_be_written_is_no_fault(java: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"")
    ensure_linked(linked_file(java, "a.jar", tmp_path / "cache"), lambda _: None)
