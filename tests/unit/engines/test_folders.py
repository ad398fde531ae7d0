"""A folder is looked at before an engine opens anything in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from modelmora.engines.base import LoadError
from modelmora.engines.folders import check_unchanged, entrance, model_files
from tests.unit.registry.models import make_model

Attack = Callable[[Path], None]


def _write(name: str, content: bytes = b"{}") -> Attack:
    def attack(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)

    return attack


def _link(name: str, target: str) -> Attack:
    return lambda folder: (folder / name).symlink_to(target)


ATTACKS = {
    "code": (_write("modeling.py"), "is code"),
    "code below": (_write("a/b.py"), "is code"),
    "auto_map": (_write("tokenizer_config.json", b'{"auto_map": {"A": "b.C"}}'), "code of its own"),
    "auto_map in much": (
        _write("tokenizer_config.json", b'{"auto_map": {}, "x": "' + b" " * 4_000_000 + b'"}'),
        "too large for a configuration",
    ),
    "link out": (_link("vocab.txt", "/etc/passwd"), "a link out of the model's folder"),
    "link up": (_link("vocab.txt", "../outside"), "a link out of the model's folder"),
    "folder out": (_link("more", "/etc"), "a link out of the model's folder"),
    "pipe": (lambda folder: os.mkfifo(folder / "x.json"), "no file"),
    "no gguf": (_write("m.gguf", b"PK.."), "no GGUF file"),
    "unlisted": (_write("x.weird"), "of a kind"),
}


@pytest.mark.row("F21")
@pytest.mark.parametrize(("attack", "reason"), ATTACKS.values(), ids=ATTACKS)
def test_what_is_hostile_is_refused(tmp_path: Path, attack: Attack, reason: str) -> None:
    folder = make_model(tmp_path / "m")
    assert len(model_files(folder)) == 4
    (tmp_path / "outside").write_text("secret")
    attack(folder)
    with pytest.raises(LoadError, match=reason):
        model_files(folder)


def test_links_within_and_into_the_blobs_of_a_hub_cache_are_followed(tmp_path: Path) -> None:
    origin = make_model(tmp_path / "origin")
    snapshot = tmp_path / "models--org--x" / "snapshots" / "abc"
    blobs = tmp_path / "models--org--x" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in origin.iterdir():
        (blobs / path.name).write_bytes(path.read_bytes())
        (snapshot / path.name).symlink_to(Path("../../blobs") / path.name)
    assert len(model_files(snapshot)) == 4
    (snapshot / "vocab.txt").symlink_to(origin / "config.json")
    with pytest.raises(LoadError, match="link out"):
        model_files(snapshot)


def test_a_file_of_its_own_is_a_model(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF....")
    (tmp_path / "beside.py").write_text("its folder is not looked at")
    assert model_files(path) == ("m.gguf",)
    noted = ["config.json", "m.gguf", "mmproj-m.gguf"]
    assert entrance(tmp_path, noted) == tmp_path, "beside its projector and adapters"
    (tmp_path / "other.gguf").write_bytes(b"GGUF....")
    assert entrance(tmp_path, noted) == path
    assert entrance(tmp_path, ["config.json", "model.safetensors"]) == tmp_path


@pytest.mark.row("F24")
def test_a_changed_file_is_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("a")
    stat = path.stat()
    state = [[str(path), stat.st_ino, stat.st_ctime_ns, stat.st_size]]
    check_unchanged(state)
    path.write_text("b")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(LoadError, match="f is not the file that was locked"):
        check_unchanged(state)
    path.unlink()
    with pytest.raises(LoadError, match="f is not the file"):
        check_unchanged(state)
