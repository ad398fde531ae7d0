"""`config show` says where each setting comes from and hides secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

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
    assert shown["data_dir"] == ("from-flag", "flag")
    assert shown["http_port"] == (1, "modelmora.yaml")
    assert shown["kafka.sasl_username"] == ("me", "modelmora.yaml")
    assert shown["grpc_port"] == (2, "modelmora_grpc_port")
    assert shown["kafka.sasl_password"] == ("********", "MODELMORA_KAFKA__SASL_PASSWORD")
    assert shown["limits.request_bytes"] == (5, "MODELMORA_LIMITS")
    assert shown["namespace"] == ("modelmora", "default")
    assert [model["name"] for model in shown["models"][0]] == ["a"]

    plain = cli("config", "show")
    assert "open-sesame" not in ran.out + plain.out
    assert "a@1" in plain.out
