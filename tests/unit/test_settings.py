"""Settings rise from the file over the environment to flags, and a fault is one clear line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from modelmora.errors import ConfigurationError
from modelmora.settings import KafkaSettings, Settings, load_settings

PASSWORD = "correct horse"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("MODELMORA_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def _file(text: str, name: str = "modelmora.yaml") -> Path:
    path = Path(name)
    path.write_text(text)
    return path


def _fault(config: Path | None = None, **flags: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(config, **flags)
    said = str(caught.value)
    assert said
    assert "\n" not in said
    return said


def test_the_defaults_need_nothing() -> None:
    settings = load_settings()
    assert settings.namespace == "modelmora"
    assert settings.group == "modelmora.nodes"
    assert settings.bootstrap_servers is None
    assert settings.cores >= 1
    assert load_settings(threads=3).cores == 3


def test_flags_win_over_the_environment_and_that_over_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _file("namespace: file\nhttp_port: 1\ngrpc_port: 1\nlimits: {request_bytes: 7, group_bytes: 7}")
    monkeypatch.setenv("MODELMORA_HTTP_PORT", "2")
    monkeypatch.setenv("MODELMORA_GRPC_PORT", "2")
    monkeypatch.setenv("MODELMORA_LIMITS__REQUEST_BYTES", "8")
    settings = load_settings(grpc_port=3, http_port=None)
    assert (settings.namespace, settings.http_port, settings.grpc_port) == ("file", 2, 3)
    assert (settings.limits.request_bytes, settings.limits.group_bytes) == (8, 7)


def test_the_file_is_the_flags_else_the_variables_else_the_folders(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _file("namespace: folder")
    variable, flag = _file("namespace: variable", "a.yaml"), _file("namespace: flag", "b.yaml")
    assert load_settings().namespace == "folder"
    monkeypatch.setenv("MODELMORA_CONFIG", str(variable))
    assert load_settings().namespace == "variable"
    assert load_settings(flag).namespace == "flag"


def test_one_reading_leaves_nothing_for_the_next() -> None:
    path = _file("namespace: once", "a.yaml")
    assert load_settings(path).namespace == "once"
    assert load_settings().namespace == "modelmora"


def test_an_empty_file_is_no_settings() -> None:
    assert load_settings(_file("", "a.yaml")) == load_settings()


def test_models_are_read() -> None:
    (model,) = load_settings(
        _file("models: [{name: mini, task: txt2embed, source: 'package:x'}]")
    ).models
    assert (model.name, model.task, model.source) == ("mini", "txt2embed", "package:x")
    assert (model.version, model.engine) == ("1", None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("namespase: x", "namespase"),
        ("limits: {request_byte: 1}", "limits.request_byte"),
        ("http_port: 70000", "http_port"),
        ("http_port: eighty", "http_port"),
        ("role: chef", "role"),
        ("namespace: 'No Spaces'", "namespace"),
        ("models: [{name: Bad/Name, task: t, source: s}]", "models.0.name"),
        ("models: [{name: m, source: s}]", "models.0.task"),
        ("models: [{name: m, task: t, source: s}, {name: m, task: t, source: s}]", "m@1"),
        ("limits: {request_bytes: 3000000}", "limits.request_bytes"),
        ("kafka: {security_protocol: TLS}", "kafka.security_protocol"),
        ("a: [1, 2", "line"),
        ("a: 1\n\tb: 2", "line 2"),
        ("- a\n- b", "mapping"),
        ("just words", "mapping"),
        ("42", "mapping"),
    ],
)
def test_a_faulty_file_is_named_with_the_place_of_the_fault(text: str, said: str) -> None:
    fault = _fault(_file(text, "faulty.yaml"))
    assert said in fault
    assert "faulty.yaml" in fault


def test_a_file_of_other_bytes_is_named(tmp_path: Path) -> None:
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00\x00namespace")
    assert "binary.yaml" in _fault(path)


def test_a_missing_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "nowhere.yaml" in _fault(Path("nowhere.yaml"))
    monkeypatch.setenv("MODELMORA_CONFIG", "elsewhere.yaml")
    assert "elsewhere.yaml" in _fault()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MODELMORA_HTTP_PORT", "eighty", "http_port"),
        ("MODELMORA_LIMITS__GROUP_BYTES", "-1", "limits.group_bytes"),
        ("MODELMORA_MODELS", "not json", "models"),
        ("MODELMORA_LIMITS__NO_SUCH", "1", "limits.no_such"),
    ],
)
def test_a_faulty_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    assert said in _fault()


def test_a_faulty_flag_is_named() -> None:
    assert "http_port" in _fault(http_port=-1)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().namespace = "other"  # type: ignore[misc]


def test_a_password_is_never_shown() -> None:
    kafka = KafkaSettings.model_validate({"sasl_password": PASSWORD})
    assert kafka.password() == PASSWORD
    settings = Settings(kafka=kafka)
    for shown in (repr(settings), str(settings), settings.model_dump_json(), repr(kafka)):
        assert PASSWORD not in shown
    fault = _fault(_file(f"kafka: {{sasl_password: {PASSWORD}, sasl_mechanism: x}}", "a.yaml"))
    assert PASSWORD not in fault


def test_a_password_may_lie_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text(PASSWORD + "\n")
    assert KafkaSettings(sasl_password_file=path).password() == PASSWORD
    with pytest.raises(ConfigurationError, match="sasl_password_file"):
        KafkaSettings(sasl_password_file=tmp_path / "none").password()
    assert KafkaSettings().password() is None
