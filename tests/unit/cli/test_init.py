"""`init` writes a project that can be used as it stands, and never over anything."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from modelmora.registry.declared import read_declared
from modelmora.settings import load_settings
from modelmora.settings.template import models_schema
from tests.unit.cli.runs import Cli

FILES = ["modelmora.yaml", "models/all-minilm-l6-v2.yaml", ".gitignore", "README.md"]


def test_a_project_is_written_that_serves_and_applies(cli: Cli, tmp_path: Path) -> None:
    ran = cli("init", "--yes")
    assert (ran.code, ran.out.split()) == (0, FILES)
    assert load_settings(Path("modelmora.yaml")) == load_settings()
    (model,) = read_declared(tmp_path / "models").models
    assert (model.name, model.task, model.active) == ("all-minilm-l6-v2", "txt2embed", True)
    first = Path(FILES[1]).read_text().splitlines()[0]
    schema = json.loads(Path(first.removeprefix("# yaml-language-server: $schema=")).read_text())
    assert schema == models_schema(), "python -m modelmora.settings.template"
    told = yaml.safe_load(Path(FILES[1]).read_text())
    jsonschema.validate(told, schema)
    jsonschema.validate({"models": [told]}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"models": [told], "more": 1}, schema)
    # What is explained there is true once it is uncommented.
    text = Path(FILES[1]).read_text()
    everything = "\n".join(
        line[1:] if line.startswith("#") and not line.startswith(("##", "# yaml")) else line
        for line in text.splitlines()
    )
    Path(FILES[1]).write_text(everything)
    (model,) = read_declared(Path("models")).models
    assert (model.keep_alive, model.metadata) == (600, {"languages": ("en",)})


def test_what_is_answered_stands_in_the_files(cli: Cli) -> None:
    flags = ("--bootstrap-servers", "k:9092", "--namespace", "team", "--model", "./Nice_Model")
    assert cli("init", "here", "--yes", *flags).code == 0
    settings = load_settings(Path("here/modelmora.yaml"))
    assert (settings.bootstrap_servers, settings.namespace) == ("k:9092", "team")
    (model,) = read_declared(Path("here/models")).models
    assert model.name == "nice_model"
    assert model.source == str(Path("here/models/Nice_Model").absolute())


@pytest.mark.parametrize("there", FILES)
def test_nothing_is_overwritten(cli: Cli, there: str) -> None:
    Path(there).parent.mkdir(exist_ok=True)
    Path(there).write_text("mine")
    ran = cli("init", "--yes")
    assert ran.code == 2
    assert f"{there} is there already; nothing was written" in ran.err
    assert Path(there).read_text() == "mine"
    assert sum(Path(each).exists() for each in FILES) == 1


@pytest.mark.parametrize(
    "flags",
    [
        ("--namespace", "Not Good"),
        ("--bootstrap-servers", "nowhere"),
        ("--model", "x: {y"),
        ("--model", "a\nsource: b"),
    ],
)
def test_an_answer_is_checked_and_quoted(cli: Cli, flags: tuple[str, str]) -> None:
    ran = cli("init", "--yes", *flags)
    if flags[0] == "--model":
        assert read_declared(Path("models")).models[0].source == flags[1]
    else:
        assert ran.code == 2
        assert not Path("modelmora.yaml").exists()
