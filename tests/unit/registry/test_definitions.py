"""Which models are served, and what a broken definition does."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelmora.engines import CATALOG
from modelmora.errors import ConfigurationError
from modelmora.registry import install, served_or_faults
from modelmora.registry.definitions import MINILM, modules_of
from modelmora.settings import ModelConfig, Settings
from tests.unit.registry.models import make_model, served


def configured(name: str, version: str = "1") -> ModelConfig:
    return ModelConfig(name=name, task="txt2embed", source="/somewhere", version=version)


def test_the_packaged_model_is_served_until_models_are_named(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert served(settings) == (MINILM,)
    mine = install(settings, str(make_model(tmp_path / "m")), name="mine")
    assert served(settings) == (MINILM, mine)
    named = Settings(data_dir=tmp_path, models=(configured("a"),))
    assert [model.name for model in served(named)] == ["a", "mine"]
    again = install(settings, str(tmp_path / "m"), name=MINILM.name)
    assert served(settings) == (again, mine), "one's own of its name and version takes its place"


def test_served_is_configured_and_installed_and_not_the_packaged_one(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, models=(configured("b"), configured("a", "2")))
    install(settings, str(make_model(tmp_path / "m")), name="a")
    assert [model.key for model in served(settings)] == [("a", "1"), ("a", "2"), ("b", "1")]


def test_configured_wins_over_installed_of_the_same_version(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, models=(configured("a"),))
    install(settings, str(make_model(tmp_path / "m")), name="a")
    assert [model.source for model in served(settings)] == ["/somewhere"]


def test_only_what_the_served_models_need_is_imported(tmp_path: Path) -> None:
    echo = ModelConfig(name="echo", task="echo", source=str(tmp_path))
    assert modules_of(Settings(data_dir=tmp_path, testing=True, models=(echo,))) == ()
    unknown = ModelConfig(name="u", task="unknown", source="/somewhere")
    assert modules_of(Settings(data_dir=tmp_path, models=(unknown,))) == ()
    models = (configured("a"), configured("b"), unknown)
    both = modules_of(Settings(data_dir=tmp_path, models=models))
    assert set(both) == set(CATALOG["txt2embed"].modules)
    elsewhere = ModelConfig(name="a", task="txt2embed", source="/somewhere", runtime="other")
    assert modules_of(Settings(data_dir=tmp_path, models=(elsewhere,))) == ()


def test_testing_adds_the_test_models_below_all_others(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, testing=True, models=(configured("echo"),))
    models = {model.name: model for model in served(settings)}
    assert set(models) == {"count", "crash", "echo", "hang", "oom", "sleep"}
    assert models["echo"].source == "/somewhere"
    assert models["sleep"].engine == "modelmora.testing.engines:Sleep"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("name: [", "line 1 is not valid YAML"),
        ("just a word", "valid dictionary"),
        ("{name: broken, task: t, source: s, colour: red}", "colour"),
        ("{name: other, task: t, source: s}", "not the model of its path"),
        ("{name: broken, task: t}", "source: Field required"),
    ],
)
def test_a_broken_definition_is_one_line_and_does_not_hide_the_others(
    tmp_path: Path, text: str, fault: str
) -> None:
    settings = Settings(data_dir=tmp_path)
    install(settings, str(make_model(tmp_path / "m")), name="good")
    broken = tmp_path / "models" / "broken" / "1.yaml"
    broken.parent.mkdir()
    broken.write_text(text)

    packaged, told, good = served_or_faults(settings).definitions
    assert (told.key, good.name, good.fault, packaged.fault) == (
        ("broken", "1"),
        "good",
        None,
        None,
    )
    assert fault in str(told.fault)
    with pytest.raises(ConfigurationError, match=r"1\.yaml") as caught:
        served(settings)
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_definitions_are_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "mine"
    folder.mkdir(parents=True)
    (folder / ".1.yaml").write_text("[")
    (folder / "notes.txt").write_text("[")
    (tmp_path / "models" / "readme.yaml").write_text("[")
    assert served(Settings(data_dir=tmp_path)) == (MINILM,)
