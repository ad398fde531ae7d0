"""`config show` says where each setting comes from and hides secrets."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from modelmora.settings import Settings, load_settings
from modelmora.settings.template import json_schema
from tests.unit.cli.runs import Cli


def test_each_setting_and_where_it_comes_from(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "modelmora.yaml").write_text(
        "http_port: 1\nkafka: {sasl_username: me}\ndata_dir: from-file\n"
        "models: [{name: a, task: txt2embed, source: /a}]\n"
    )
    monkeypatch.setenv("modelmora_grpc_port", "2")
    monkeypatch.setenv("MODELMORA_KAFKA__SASL_PASSWORD", "open-sesame")
    monkeypatch.setenv("MODELMORA_LIMITS", '{"request_bytes": 5}')
    ran = cli("config", "show", "--data-dir", "from-flag", "--json")
    assert ran.code == 0
    shown = {name: (row["value"], row["from"]) for name, row in ran.json.items()}
    assert shown["data_dir"] == ("from-flag", "--data-dir")
    assert shown["http_port"] == (1, "modelmora.yaml line 1")
    assert shown["kafka.sasl_username"] == ("me", "modelmora.yaml line 2")
    assert shown["grpc_port"] == (2, "modelmora_grpc_port")
    assert shown["kafka.sasl_password"] == ("********", "MODELMORA_KAFKA__SASL_PASSWORD")
    assert shown["limits.request_bytes"] == (5, "MODELMORA_LIMITS")
    assert shown["namespace"] == ("modelmora", "default")
    assert [model["name"] for model in shown["models"][0]] == ["a"]

    plain = cli("config", "show")
    assert "open-sesame" not in ran.out + plain.out
    assert "a@1" in plain.out


def test_a_file_to_start_from(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli("config", "init").out == "modelmora.yaml\n"
    text = Path("modelmora.yaml").read_text()
    assert load_settings() == Settings()
    first = text.splitlines()[0]
    schema = json.loads(Path(first.removeprefix("# yaml-language-server: $schema=")).read_text())
    assert schema == json_schema(), "python -m modelmora.settings.template"

    assert "json, console, none, or auto" in text  # a value of that name
    assert "none = " not in text  # which is null in YAML

    uncommented = [line[1:] if re.match("#[^#]", line) else line for line in text.splitlines()[1:]]
    everything = "\n".join(uncommented)
    Path("modelmora.yaml").write_text(everything)
    (model,) = load_settings().models
    assert model.name == "my-model"
    assert load_settings().model_copy(update={"models": ()}) == Settings()
    jsonschema.validate(yaml.safe_load(everything), schema)
    with pytest.raises(jsonschema.ValidationError, match="htpp"):
        jsonschema.validate({"htpp_port": 1}, schema)

    again = cli("config", "init")
    assert again.code == 2
    assert "is there already" in again.err


def test_all_that_is_wrong_at_once(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "without a settings file" in cli("config", "check").err
    Path("a.yaml").write_text("http_port: x\nlimits: {nodes: 1}\n")
    monkeypatch.setenv("MODELMORA_ROLE", "cook")
    ran = cli("config", "check", "a.yaml")
    assert ran.code == 2
    assert len(ran.out.splitlines()) == 3
    assert "3 faults" in ran.err
    assert cli("config", "check", "a.yaml", "--json").json == ran.out.splitlines()
    assert cli("config", "schema").json == json_schema()


def test_secrets_and_files_that_cannot_be_used_are_faults(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text(
        "access: {keys_file: made-later.json}\nlock_file: made-later.lock\n"
        "kafka: {security_protocol: SASL_SSL, ssl_cafile: none.pem}\n"
        "audit: {key_file: .}\nschema_registry: {password_file: none}\n"
    )
    monkeypatch.setenv("MODELMORA_ACCESS__CLUSTER_SECRET", "short")
    ran = cli("config", "check", "a.yaml")
    assert ran.code == 2
    assert [line[:60] for line in ran.out.splitlines()] == [
        "access.cluster_secret is 32 characters or more; make one with `openssl rand -hex 32`"[:60],
        "kafka.security_protocol SASL_SSL needs kafka.sasl_username, ",
        "schema_registry.password_file none cannot be read: No such f",
        "kafka.ssl_cafile none.pem cannot be read: No such file or di",
        "audit.key_file . cannot be read: Is a directory",
    ]


def test_roles_and_grants_are_shown_short_and_in_json_whole(cli: Cli) -> None:
    rule = {"verbs": ["infer"], "models": ["m*"], "lanes": ["low"], "effect": "deny"}
    told = {"access": {"roles": {"quiet": [rule]}, "grants": {"team-*": ["caller", "quiet"]}}}
    Path("modelmora.yaml").write_text(json.dumps(told))
    shown = {line.split()[0]: line for line in cli("config", "show").out.splitlines()}
    assert " quiet " in shown["access.roles"]
    assert "Verb" not in shown["access.roles"]
    assert "team-*: caller quiet" in shown["access.grants"]
    found = cli("config", "show", "--json").json
    assert found["access.roles"]["value"] == {"quiet": [rule]}
    assert found["access.grants"]["value"] == {"team-*": ["caller", "quiet"]}
