"""Files of models: read with their references, refused with their place, served by a node."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelmora.errors import ConfigurationError, NotFound
from modelmora.registry import Looker, served_or_faults
from modelmora.registry.declared import read_declared
from modelmora.registry.watch import fingerprint
from modelmora.settings import Settings
from tests.unit.registry.models import make_model

TWIN = "{name: m, task: t, source: s, active: true}"
ONE = "name: m\ntask: txt2embed\nsource: ./files\n"


def test_references_are_filled_and_sources_are_meant_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "m.yml").write_text(
        ONE + "keep_alive: ${IDLE}\nwarm_up: a ${WORD:-b} $${c} ${EMPTY:-}\n"
    )
    (tmp_path / ".hidden.yaml").write_text("[")
    (model,) = read_declared(tmp_path, {"IDLE": "5", "EMPTY": ""}).models
    assert model.source == str(tmp_path / "deep" / "files")
    assert (model.keep_alive, model.warm_up) == (5.0, "a b ${c} ")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[", "line 1 is not valid YAML"),
        ("a word", "must be a mapping"),
        ("models: 3", "models must be a list"),
        ("models: [3]", "models[0] must be a mapping"),
        (f"{ONE}models: []", "name stands beside `models`"),
        (f"{ONE}runtime: ${{NOT_SET}}", "set the variable NOT_SET"),
        (f"{ONE}pinned: 3", "pinned: "),
        ("models: [{name: m, task: t, source: s}, {name: m, task: t, source: s}]", "m@1 is in"),
        (
            f"models: [{TWIN}, {TWIN[:-1]}, version: b}}]",
            "1 and b cannot both be active",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_file(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "m.yaml").write_text(text)
    with pytest.raises(ConfigurationError) as refused:
        read_declared(tmp_path, {})
    assert told in str(refused.value)
    assert str(tmp_path / "m.yaml") in str(refused.value)


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_declared(tmp_path / "nothing")


def test_a_node_serves_the_models_of_its_folder(tmp_path: Path) -> None:
    make_model(tmp_path / "files")
    file = tmp_path / "m.yaml"
    file.write_text(ONE)
    settings = Settings(data_dir=tmp_path / "d", models_folder=file)
    before = fingerprint(settings)
    assert "m@1" in {"@".join(each.key) for each in served_or_faults(settings).definitions}
    file.write_text("[")
    assert fingerprint(settings) != before
    assert "not valid YAML" in served_or_faults(settings).faults[0]


@pytest.mark.parametrize(
    ("licence", "fault"),
    [
        ("", "it tells no licence"),
        ("licence: {name: MIT}\n", "nobody has confirmed its licence MIT"),
        ("licence: {name: MIT, confirmed_by: me}\n", None),
    ],
)
def test_a_licence_may_be_required(tmp_path: Path, licence: str, fault: str | None) -> None:
    make_model(tmp_path / "files")
    (tmp_path / "m.yaml").write_text(ONE + licence)
    settings = Settings.model_validate(
        {
            "data_dir": tmp_path / "d",
            "models_folder": tmp_path / "m.yaml",
            "registry": {"require_licence": True},
        }
    )
    (model,) = (each for each in served_or_faults(settings).definitions if each.name == "m")
    (looked,) = Looker(settings).look((model,))
    assert (looked.fault or "").startswith(fault or "")
    assert bool(looked.fault) is bool(fault)
