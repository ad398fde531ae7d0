"""Settings rise from the file over the environment to flags, and a fault is one clear line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from modelmora.errors import ConfigurationError
from modelmora.settings import KafkaSettings, Settings, load_settings, setting_paths, variable_of
from modelmora.settings.sources import is_secret

PASSWORD = "correct horse"
WORD = "horse-9f2c"


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


MODEL = "task: t, source: s"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\nnamespase: x", " line 2: namespase is no setting; did you mean namespace?"),
        ("limits: {request_byte: 1}", ": limits.request_byte is no setting; did you mean request_"),
        ("log: {color: 1}", ": log.color is no setting; there are level, format"),
        ("8080: x", ": 8080 is no setting"),
        ("http_port: 70000", ": http_port is 70000; it must be a whole number from 0 to 65535"),
        ("http_port: eighty", ': http_port is "eighty"; it must be a whole number from 0 to'),
        ("threads: 0", ": threads is 0; it must be a whole number of at least 1"),
        ("timing: {load_s: 0}", ": timing.load_s is 0; it must be a number above 0"),
        ("testing: perhaps", ': testing is "perhaps"; it must be true or false'),
        ("data_dir: [a]", ': data_dir is ["a"]; it must be a path'),
        ("limits: 7", ": limits is 7; it must be a mapping"),
        ("models: mini", ': models is "mini"; it must be a list'),
        ("role: chef", ': role is "chef"; it must be one of all, node, gateway'),
        ("namespace: 'No Spaces'", ': namespace is "No Spaces"; it must be up to 64 of a-z'),
        (f"models: [{{name: Bad/Name, {MODEL}}}]", ': models[0].name is "Bad/Name"; it must be up'),
        ("models: [{name: m, source: s}]", ": models[0] lacks `task`"),
        (f"models: [{{name: m, {MODEL}}}, {{name: m, {MODEL}}}]", ": models: m@1 is listed twice"),
        ("limits: {request_bytes: 3000000}", ": limits.request_bytes is 3000000; it must be a wh"),
        ("kafka: {security_protocol: TLS}", "must be one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_"),
        ("kafka: {sasl_password: [x]}", ": kafka.sasl_password is a secret; give it as MODEL"),
        ("host: a\nlog: {level: info}\nhost: b", " line 3: host is there twice, first in line 1"),
        ("log: {level: info, level: debug}", " line 1: level is there twice, first in line 1"),
        ("a: 1\n\tb: 2", " line 2 is not valid YAML"),
        ("a: [1, 2", " is not valid YAML"),
        (
            "access: {roles: {r: [{verbs: [infr]}]}}",
            '.r[0].verbs[0] is "infr"; it must be one of inf',
        ),
        (
            "access: {roles: {r: [{verbs: [infer], model: [m]}]}}",
            "r[0].model is no setting; did you mean mod",
        ),
        (
            "access: {roles: {R: [{verbs: [infer]}]}}",
            'access.roles.R is "R"; it must be up to 64 of',
        ),
        ("access: {roles: {r: []}}", ": access.roles.r: an empty list says nothing; leave it out"),
        ("access: {roles: {admin: [{verbs: [infer]}]}}", ": admin is a role that is always there"),
        ("access: {grants: {a: admin}}", ': access.grants.a is "admin"; it must be a list'),
        ("access: {grants: {'': [admin]}}", 'is ""; it must be a principal, * for any characters'),
        ("runtimes: {A: [x]}", ': runtimes.A is "A"; it must be up to 64 of a-z 0-9 . _ -'),
        ("- a\n- b", " must be a mapping of settings"),
        ("just words", " must be a mapping of settings"),
        ("42", " must be a mapping of settings"),
        ("&a [*a]", " is nested too deeply, or a part stands in itself"),
        ("host: a\n---\nhost: b", " line 2 is not valid YAML: it holds several documents"),
        ("log: [a", " line 1 is not valid YAML: it ends within a list"),
        ("limits:\n\tnodes: 1", " line 2 is not valid YAML: a tab stands where only spaces may"),
        ("host: a: b", " line 1 is not valid YAML: a second `: ` in one line"),
        ("host: !!python/name:os.system", " line 1 is not valid YAML: tags such as !!python"),
        ("~: 1", " line 1: ~ is no setting"),
        ("yes: 1", " line 1: yes is no setting"),
        ("limits: {1: 2}", " line 1: limits.1 is no setting"),
        ("http_port: true", ": http_port is true; it must be a whole number from 0 to 65535"),
        ("timing: {drain_s: yes}", ": timing.drain_s is true; it must be a number from 0 to 31536"),
        ("timing: {stop_s: .inf}", ": timing.stop_s is Infinity; it must be a number above 0, up"),
        ("timing: {request_timeout_ms: 1000000000000000000}", "must be a whole number from 1 to 3"),
        ("host: ''", ': host is ""; it must be an address or name of this machine'),
        ("data_dir: ''", ': data_dir is ""; it must be a path'),
        ('data_dir: "a\\0b"', "; it must be a path"),
        ("log: {file: ' '}", ': log.file is " "; it must be a path'),
        ("bootstrap_servers: ''", ': bootstrap_servers: "" is not host:port'),
        ("bootstrap_servers: 'k:1,http://k:1'", ': bootstrap_servers: "http://k:1" is not host:p'),
        (f"models: [{{name: m, {MODEL}, version: 2}}]", ".version is 2; it must be up to 64 of A"),
        (f"models: [{{name: m, {MODEL}, version: 2}}]", "first a letter or digit, in quotes"),
    ],
)
def test_a_faulty_file_is_named_with_the_place_of_the_fault(text: str, said: str) -> None:
    fault = _fault(_file(text, "faulty.yaml"))
    assert fault.startswith("faulty.yaml")
    assert said in fault


def test_what_stands_over_a_fault_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    path = _file("http_port: eighty\nlimits: {request_bytes: 0}", "faulty.yaml")
    assert "and 1 more: `modelmora config check`" in _fault(path)
    monkeypatch.setenv("MODELMORA_LIMITS", '{"request_bytes": 9}')
    assert load_settings(path, http_port=80).limits.request_bytes == 9
    monkeypatch.setenv("MODELMORA_LIMITS", '{"request_bytes": -9}')
    assert _fault(path, http_port=80).startswith("MODELMORA_LIMITS: limits.request_bytes is -9;")


def test_a_section_without_parts_is_not_given() -> None:
    assert load_settings(_file("limits:\nmodels: ~\n", "a.yaml")) == load_settings()


def test_a_path_may_begin_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert load_settings(_file("data_dir: ~/models", "a.yaml")).data_dir == Path("/home/me/models")


def test_a_file_of_other_bytes_is_named(tmp_path: Path) -> None:
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00\x00namespace")
    assert "binary.yaml" in _fault(path)


def test_a_missing_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "nowhere.yaml" in _fault(Path("nowhere.yaml"))
    monkeypatch.setenv("MODELMORA_CONFIG", "elsewhere.yaml")
    assert "elsewhere.yaml" in _fault()
    assert _fault(Path()) == ". is a folder; name the settings file in it"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MODELMORA_HTTP_PORT", "eighty", 'MODELMORA_HTTP_PORT is "eighty"; it must be a whole'),
        ("modelmora_http_port", "eighty", 'modelmora_http_port is "eighty"; it must be a whole'),
        ("MODELMORA_LIMITS__GROUP_BYTES", "-1", "MODELMORA_LIMITS__GROUP_BYTES is "),
        ("MODELMORA_MODELS", "not json", "MODELMORA_MODELS must be JSON, such as '[{"),
        ("MODELMORA_AUDIT__TRUSTED", "abc", 'must be JSON, such as \'["one", '),
        ("MODELMORA_ACCESS__GRANTS", "alice=caller", 'must be JSON, such as \'{"key"'),
        ("MODELMORA_LIMITS", '{"group_bytes": 1, "group_bytes": 2}', "group_bytes is there twice"),
        pytest.param("MODELMORA_MODELS", "[" * 100_000, "MODELMORA_MODELS must be JSON", id="deep"),
        ("MODELMORA_LIMITS", "7", "MODELMORA_LIMITS is 7; it must be a mapping"),
        ("MODELMORA_MODELS", "not json", """such as '[{"name": "my-model"}]'"""),
        ("MODELMORA_FOO", "1", "MODELMORA_FOO is no variable of ModelMora; see `modelmora config"),
        ("MODELMORA_HTPP_PORT", "1", "did you mean MODELMORA_HTTP_PORT?"),
        ("MODELMORA_TOPICS_PARTITIONS", "3", "did you mean MODELMORA_TOPICS__PARTITIONS?"),
        ("MODELMORA_LIMITS__NO_SUCH", "1", "MODELMORA_LIMITS__NO_SUCH is no variable"),
    ],
)
def test_a_faulty_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    assert said in _fault()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MODELMORA_GATEWAY_SERVICE_HOST", "10.0.0.1"),
        ("MODELMORA_GATEWAY_SERVICE_PORT", "8080"),
        ("MODELMORA_GATEWAY_SERVICE_PORT_REST", "8080"),
        ("MODELMORA_GATEWAY_PORT", "tcp://10.0.0.1:8080"),
        ("MODELMORA_GATEWAY_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("MODELMORA_GATEWAY_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("MODELMORA_GATEWAY_PORT_8080_TCP_PROTO", "tcp"),
        ("MODELMORA_PORT", "tcp://10.0.0.1:8080"),
        ("MODELMORA_HTTP_PORT", "tcp://10.0.0.1:8080"),  # of a service named modelmora-http
        ("MODELMORA_HTTP_PORT", ""),
        ("MODELMORA_NOTIFY_FD", "7"),
    ],
)
def test_variables_that_nobody_set_for_us_do_not_trip_us(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert load_settings().http_port == 8080


def test_a_faulty_flag_is_named() -> None:
    assert _fault(http_port=-1) == "--http-port is -1; it must be a whole number from 0 to 65535"


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


@pytest.mark.parametrize(
    "text",
    [
        f"kafka: {WORD}",
        f"kafka: [{{sasl_password: {WORD}}}]",
        f"kafka: {{sasl_password: [{WORD}]}}",
        f"kafka: {{sasl_password: {{a: {WORD}}}}}",
        f"kafka: {{sasl_password: *{WORD}}}",
        f"kafka: {{sasl_password: !{WORD}}}",
        f"kafka: {{sasl_password: 'a' {WORD}}}",
        f"kafka: {{sasl_pasword: {WORD}}}",
        f"kafka:\n  sasl_password: a: {WORD}",
        f"kafka:\n  sasl_password: >{WORD}",
        f"kafka:\n  sasl_password: '{WORD}",
    ],
)
def test_a_password_in_the_wrong_place_is_not_shown(text: str) -> None:
    assert WORD not in _fault(_file(text, "a.yaml"))


@pytest.mark.parametrize(
    "path", [path for path, kind in setting_paths() if is_secret(kind)], ids="__".join
)
def test_a_file_of_settings_holds_no_secret(
    path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    section, name = path
    file = _file(f"{section}:\n  {name}: {WORD}\n", "a.yaml")
    fault = _fault(file)
    assert fault.startswith(f"{file} line 2: {section}.{name} is a secret; give it as ")
    assert variable_of(path) in fault
    assert WORD not in fault
    monkeypatch.setenv(variable_of(path), WORD)
    settings = load_settings(_file(f"{section}:\n  {name}:\n", "b.yaml"))
    assert getattr(getattr(settings, section), name).get_secret_value() == WORD


def _patterns(schema: object) -> Iterator[dict[str, object]]:
    """What a JSON Schema says of texts of a certain form."""
    if isinstance(schema, dict):
        if "pattern" in schema:
            yield schema
        for below in schema.values():
            yield from _patterns(below)
    for each in schema if isinstance(schema, list) else ():
        yield from _patterns(each)


def test_each_pattern_is_told_in_words() -> None:
    """Else a text that does not fit is told that it must be text."""
    told = list(_patterns(Settings.model_json_schema()))
    assert len(told) > 20
    assert [each for each in told if "form" not in each] == []


@pytest.mark.parametrize("endpoint", ["http://h", "https://h:4318/otlp", "http://[::1]:4318/"])
def test_addresses_of_collectors(endpoint: str) -> None:
    assert Settings.model_validate({"tracing": {"endpoint": endpoint}}).tracing.endpoint == endpoint


@pytest.mark.parametrize(
    "endpoint",
    ["h:4318", "grpc://h:4317", "http://", "http://h:port", "http://u:p@h", "http://h?a"],
)
def test_what_is_no_address_of_a_collector(endpoint: str) -> None:
    told = _fault(tracing={"endpoint": endpoint})
    assert f'"{endpoint}"; it must be http://host:port or https://host:port' in told


def test_a_password_may_lie_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text(PASSWORD + "\n")
    assert KafkaSettings(sasl_password_file=path).password() == PASSWORD
    with pytest.raises(ConfigurationError, match="sasl_password_file"):
        KafkaSettings(sasl_password_file=tmp_path / "none").password()
    assert KafkaSettings().password() is None
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match=r"sasl_password_file .* is not a text in UTF-8"):
        KafkaSettings(sasl_password_file=path).password()


def test_sasl_needs_a_name_and_a_password() -> None:
    word = SecretStr(PASSWORD)
    for name, given in ((None, None), ("me", None), (None, word)):
        settings = KafkaSettings(
            security_protocol="SASL_SSL", sasl_username=name, sasl_password=given
        )
        with pytest.raises(ConfigurationError, match=r"needs kafka\.sasl_username, and a password"):
            settings.credentials()
    whole = KafkaSettings(security_protocol="SASL_SSL", sasl_username="me", sasl_password=word)
    assert whole.credentials() == ("me", PASSWORD)
    assert KafkaSettings(sasl_username="me", sasl_password=word).credentials() is None
