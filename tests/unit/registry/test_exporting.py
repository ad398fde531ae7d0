"""What an export writes down, with the process that exports made by hand."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from modelmora.engines.graphs.forms import SAME
from modelmora.errors import ConfigurationError, ModelMoraError
from modelmora.registry import Looker, exporting, served_or_faults
from modelmora.registry.exporting import export
from modelmora.registry.install import install
from modelmora.registry.look import Looked
from modelmora.settings import Settings
from tests.tiny_models import make_tiny
from tests.unit.registry.models import make_model

RECORD = {"cosine_min": 0.99999, "cosine_mean": 1.0, "single_vs_torch": 1.6, "batch_vs_torch": 1.0}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(data_dir=tmp_path / "data")
    install(settings, str(make_model(tmp_path / "mine")), "mine")
    return settings


def looked(settings: Settings, version: str = "1") -> Looked:
    definitions = served_or_faults(settings).definitions
    found = {each.definition.key: each for each in Looker(settings).look(definitions)}
    return found["mine", version]


def answers(monkeypatch: pytest.MonkeyPatch, told: Any, code: int = 0, error: str = "") -> None:
    """The process writes a graph, and says this."""

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        target = Path(command[command.index(exporting.MODULE) + 3])
        make_model(target)
        (target / "model.onnx").write_bytes(b"")
        said = told if isinstance(told, str) else f"noise\n{json.dumps(told)}\n"
        return subprocess.CompletedProcess(command, code, said, error)

    monkeypatch.setattr(subprocess, "run", run)


def test_the_same_graph_is_a_form_of_the_same_version(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, RECORD)
    before = looked(settings)
    definition, record = export(settings, before, int8=False)
    assert record == RECORD
    after = looked(settings)
    assert after.definition == definition
    assert (definition.key, definition.source) == (("mine", "1"), before.definition.source)
    place = Path(str(definition.details.options["onnx"]))
    assert (place / "model.onnx").is_file()
    assert place.is_relative_to(settings.data_dir.absolute())
    export(settings, after, int8=False)  # again, in the place of the first
    assert sorted(p.name for p in place.parent.iterdir()) == ["1.onnx", "1.yaml"]


def test_int8_is_a_version_of_its_own_with_its_quality(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, {**RECORD, "cosine_min": 0.91, "cosine_mean": 0.97})
    definition, _ = export(settings, looked(settings), int8=True)
    assert definition.key == ("mine", "1-int8")
    assert not definition.active
    assert definition.details.metadata == {
        "weights": "int8",
        "made_from": "mine@1",
        "cosine_min": 0.91,
        "cosine_mean": 0.97,
    }
    assert looked(settings, "1-int8").definition == definition
    assert not looked(settings).definition.details.options


@pytest.mark.parametrize(
    ("told", "fault"),
    [
        ({**RECORD, "cosine_min": 0.999}, "computes something else"),
        ({"fault": "models of the task rerank have no ONNX form"}, "have no ONNX form"),
        ("Traceback", r"failed \(exit 1\): ValueError: what it said"),
        ("", r"failed \(exit 1\)"),
    ],
)
def test_what_fails_leaves_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, told: Any, fault: str
) -> None:
    answers(monkeypatch, told, 1, "Traceback\nValueError: what it said\n")
    before = looked(settings).definition
    with pytest.raises(ModelMoraError, match=fault):
        export(settings, looked(settings), int8=False)
    assert looked(settings).definition == before
    assert [p.name for p in (settings.data_dir / "models" / "mine").iterdir()] == ["1.yaml"]


def test_what_is_missing_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from modelmora.engines.graphs import export as process

    monkeypatch.setattr(process, "NEEDED", ("json", "no_onnx", "no_script"))
    assert process.main(["txt2embed", str(tmp_path), str(tmp_path / "graph")]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "fault": "exporting needs no_onnx, no_script: pip install 'modelmora[export]'",
        "code": "model_unavailable",
    }


@pytest.mark.no_cover
def test_a_real_model_is_exported_and_computes_the_same(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    install(settings, str(make_tiny(tmp_path / "mine")), "mine")
    definition, record = export(settings, looked(settings), int8=False)
    assert record["cosine_min"] > SAME
    folder = Path(str(definition.details.options["onnx"]))
    assert {p.name for p in folder.iterdir()} >= {"model.onnx", "onnx.json", "tokenizer.json"}
    after = looked(settings)
    assert (after.fault, after.definition) == (None, definition)


def test_a_model_that_cannot_be_served_is_not_exported(settings: Settings) -> None:
    (Path(looked(settings).path) / "model.safetensors").unlink()
    with pytest.raises(ConfigurationError, match="mine@1 cannot be served"):
        export(settings, looked(settings), int8=False)
