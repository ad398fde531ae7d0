"""The lock file: stable, exact, and no byte may differ from it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from modelmora.engines.folders import check_content
from modelmora.errors import ConfigurationError, LockMismatch
from modelmora.registry import Looker, install
from modelmora.registry.frozen import install_frozen
from modelmora.registry.lock import differences, read_lock, write_lock
from modelmora.registry.locked import Locked
from modelmora.registry.sources.base import quiet
from modelmora.registry.sums import Sums, sums_of
from modelmora.settings import ModelConfig, Settings
from tests.unit.registry.models import make_model, served


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """One model of a folder, configured, so that the packaged one is not served."""
    model = ModelConfig(name="m", task="txt2embed", source=str(make_model(tmp_path / "m")))
    return Settings(
        data_dir=tmp_path / "data", lock_file=tmp_path / "modelmora.lock", models=(model,)
    )


def flip(path: Path) -> None:
    """Another byte, with the file's size and time as they were."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_equal_models_make_equal_files_and_what_is_written_is_read(settings: Settings) -> None:
    lock = write_lock(settings)
    text = settings.lock_file.read_text()
    assert write_lock(settings).text() == text
    assert read_lock(settings) == lock
    assert [file.path for file in lock.models["m", "1"].details.files] == [
        "config.json", "model.safetensors", "modules.json", "tokenizer.json"
    ]  # fmt: skip
    assert differences(settings) == []


@pytest.mark.row("F24")
def test_every_difference_is_told(settings: Settings, tmp_path: Path) -> None:
    write_lock(settings)
    flip(tmp_path / "m" / "model.safetensors")
    assert differences(settings) == ["m@1: model.safetensors is not the file that was locked"]
    make_model(tmp_path / "m")
    assert differences(settings) == []
    (tmp_path / "m" / "vocab.txt").write_text("more")
    assert differences(settings) == ["m@1: vocab.txt is not in the lock file"]
    (tmp_path / "m" / "vocab.txt").unlink()
    (tmp_path / "m" / "tokenizer.json").unlink()
    assert differences(settings) == ["m@1: tokenizer.json is missing"]
    (model,) = settings.models
    other = model.model_copy(update={"pinned": True})
    more = model.model_copy(update={"name": "more"})
    assert differences(settings.model_copy(update={"models": (other, more)})) == [
        "m@1: its pinned is not that of the lock file",
        "more@1: it is not in the lock file",
    ]
    assert differences(settings.model_copy(update={"models": (more,)}))[0] == (
        "m@1: it is in the lock file and not served"
    )


@pytest.mark.parametrize("text", ["", "x", "lock-version = 2", "lock-version = 1\nmodel = 3"])
def test_what_is_no_lock_file_is_told(settings: Settings, text: str) -> None:
    with pytest.raises(LockMismatch, match="run `modelmora lock`"):
        read_lock(settings)
    settings.lock_file.write_text(text)
    with pytest.raises(ConfigurationError, match="run `modelmora lock`"):
        read_lock(settings)


def test_an_edited_lock_file_is_not_believed(settings: Settings) -> None:
    write_lock(settings)
    text = settings.lock_file.read_text().replace('task = "txt2embed"', 'task = "echo"')
    settings.lock_file.write_text(text)
    with pytest.raises(ConfigurationError, match="edited by hand"):
        read_lock(settings)


@pytest.mark.row("F24")
def test_a_locked_node_refuses_what_drifted_and_goes_on_with_what_it_has(
    settings: Settings, tmp_path: Path
) -> None:
    write_lock(settings)
    locked = settings.model_copy(update={"locked": True})
    looker, fresh = Looker(locked), Looker(locked)
    (before,) = looker.look(served(locked))
    assert (before.fault, before.drift) == (None, None)
    flip(tmp_path / "m" / "model.safetensors")
    (after,) = looker.look(served(locked))
    assert after.drift == "model.safetensors is not the file that was locked"
    assert replace(after, drift=None) == before, "what is loaded goes on"
    (late,) = fresh.look(served(locked))
    assert late.fault == after.drift, "one that had not seen it whole does not load it"
    flip(tmp_path / "m" / "model.safetensors")
    (mended,) = looker.look(served(locked))
    assert (mended.fault, mended.drift) == (None, None)
    settings.lock_file.rename(tmp_path / "away")
    (unlocked,) = looker.look(served(locked))
    assert "run `modelmora lock`" in str(unlocked.drift)
    (tmp_path / "away").rename(settings.lock_file)
    (again,) = looker.look(served(locked))
    assert (again.fault, again.drift) == (None, None), "the same file is back"


def test_a_locked_model_may_be_pinned_and_is_still_the_one_that_was_locked(
    settings: Settings,
) -> None:
    write_lock(settings)
    locked = Locked(settings)
    locked.refresh()
    (model,) = served(settings)
    for kept in ({"pinned": True}, {"keep_alive": 60.0}, {"preload": True}):
        details = model.details.model_copy(update=kept)
        assert locked.fault(replace(model, details=details)) is None
    details = model.details.model_copy(update={"options": {"slots": 2}})
    assert (
        locked.fault(replace(model, details=details)) == "its options is not that of the lock file"
    )


def test_files_are_compared_again_only_once_something_has_changed(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelmora.registry.sums._SETTLED_NS", -1)
    (tmp_path / "m" / "deep" / "er").mkdir(parents=True)
    write_lock(settings)
    locked = Locked(settings)
    (definition,) = served(settings)
    read: list[str] = []

    def check(name: str, path: Path) -> None:
        read.append(name)
        check_content(name, path)

    monkeypatch.setattr("modelmora.engines.folders.check_content", check)

    def compared() -> tuple[str | None, bool]:
        read.clear()
        locked.refresh()
        return locked.fault(definition), bool(read)

    assert compared() == (None, True)
    assert compared() == (None, False)
    flip(tmp_path / "m" / "tokenizer.json")
    assert compared() == ("tokenizer.json is not the file that was locked", True)
    assert compared() == ("tokenizer.json is not the file that was locked", False)
    flip(tmp_path / "m" / "tokenizer.json")
    (more := tmp_path / "m" / "deep" / "er" / "more.safetensors").write_bytes(b"")
    assert compared() == ("deep/er/more.safetensors is not in the lock file", True)
    more.unlink()
    assert compared() == (None, True)
    write_lock(settings)
    assert compared() == (None, True)


def test_frozen_installs_just_what_is_locked(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", lock_file=tmp_path / "modelmora.lock")
    install(settings, str(make_model(tmp_path / "m")), "m")
    write_lock(settings)
    other = settings.model_copy(update={"data_dir": tmp_path / "other"})
    installed = install_frozen(other, quiet)
    assert [each.name for each in installed] == ["all-minilm-l6-v2", "m"]
    assert differences(other) == []
    flip(tmp_path / "m" / "tokenizer.json")
    with pytest.raises(LockMismatch, match=r"tokenizer\.json"):
        install_frozen(other, quiet)


def test_a_file_is_hashed_once_as_long_as_it_stays(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    monkeypatch.setattr("modelmora.registry.sums._SETTLED_NS", -1)

    def hash_it(path: Path) -> str:
        read.append(path.name)
        return "0" * 64

    monkeypatch.setattr("modelmora.registry.sums.sha256_of", hash_it)
    sums = sums_of(settings)
    file = tmp_path / "file"
    file.write_text("a")
    assert sums.of(file) == sums.of(file) == "0" * 64
    sums.save()
    sums_of(settings).of(file)
    assert read == ["file"], "nor by the next process"
    os.utime(file)
    flip(file)
    sums.of(file)
    assert read == ["file", "file"]


@pytest.mark.parametrize("text", ["", "[]", '{"/f": 3}', "\xff"])
def test_sums_that_cannot_be_read_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "sums.json").write_text(text)
    (tmp_path / "file").write_text("a")
    assert len(Sums(tmp_path / "sums.json").of(tmp_path / "file")) == 64
