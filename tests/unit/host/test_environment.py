"""A child reads the settings that its supervisor has settled, whatever lies around."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from modelmora.host.environment import child_environment
from modelmora.settings import (
    YEAR_S,
    KafkaSettings,
    Limits,
    ModelConfig,
    Settings,
    SourceSettings,
    Timing,
    load_settings,
)

SETTLED = Settings(
    namespace="tests",
    data_dir=Path("/data"),
    bootstrap_servers="a:1,b:2",
    http_port=1234,
    member_id="node-1",
    testing=True,
    kafka=KafkaSettings(
        security_protocol="SASL_SSL",
        sasl_username="me",
        sasl_password=SecretStr("p\"w'0d"),
        ssl_cafile=Path("/ca.pem"),
    ),
    limits=Limits(partition_requests=7),
    timing=Timing(broker_s=YEAR_S),
    sources=SourceSettings(allowed_hosts=("a.example", "b.example")),
    runtimes={"newer": Path("/newer/python")},
    models=(
        ModelConfig(name="one", task="txt2embed", source="package:x"),
        ModelConfig(name="two", task="txt2embed", source="/m", version="2", engine="m:E"),
    ),
)


def test_equal_in_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "settings.yaml"
    empty.write_text("# nothing\n")
    (tmp_path / "modelmora.yaml").write_text("threads: 3\nnamespace: other\n")
    monkeypatch.chdir(tmp_path)
    parent = {"PATH": "/bin", "MODELMORA_NAMESPACE": "below", "MODELMORA_THREADS": "5"}
    environment = child_environment(SETTLED, parent, empty)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert load_settings() == SETTLED
    assert environment["PATH"] == "/bin"


def test_secrets_are_whole_and_unset_values_absent(tmp_path: Path) -> None:
    environment = child_environment(SETTLED, {}, tmp_path)
    assert environment["MODELMORA_KAFKA__SASL_PASSWORD"] == "p\"w'0d"
    assert "MODELMORA_THREADS" not in environment
    assert "MODELMORA_KAFKA__SSL_KEYFILE" not in environment
    assert "None" not in environment.values()
