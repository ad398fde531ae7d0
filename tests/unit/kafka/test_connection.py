"""One set of connection settings in the words of aiokafka and of librdkafka."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import certifi
import pytest
from confluent_kafka.admin import AdminClient

from modelmora.errors import ConfigurationError
from modelmora.kafka.connection import (
    aiokafka_config,
    bootstrap_servers,
    confluent_config,
    group_config,
    ssl_context,
)
from modelmora.kafka.writing.producing import producer_config
from modelmora.settings import Settings

PASSWORD = "correct horse"
CERTIFICATES = Path(certifi.where())


def _settings(**kafka: Any) -> Settings:
    return Settings.model_validate(
        {"bootstrap_servers": "a:1,b:2", "namespace": "ns", "kafka": kafka}
    )


SASL = {"sasl_username": "node", "sasl_password": PASSWORD}


def test_a_broker_that_was_away_is_tried_again_within_a_second() -> None:
    for protocol in ("consumer", "classic"):
        assert group_config(_settings(), protocol)["reconnect.backoff.max.ms"] == 1_000
    assert producer_config(_settings(), 10)["reconnect.backoff.max.ms"] == 1_000


def test_without_a_broker_nothing_is_started() -> None:
    with pytest.raises(ConfigurationError, match="--bootstrap-servers"):
        bootstrap_servers(Settings())


def test_plaintext() -> None:
    settings = _settings(**SASL)  # a password is not sent where none is asked
    assert aiokafka_config(settings) == {
        "bootstrap_servers": "a:1,b:2",
        "client_id": "ns",
        "security_protocol": "PLAINTEXT",
        "ssl_context": None,
    }
    assert confluent_config(settings) == {
        "bootstrap.servers": "a:1,b:2",
        "client.id": "ns",
        "security.protocol": "PLAINTEXT",
        "log_level": 0,
        "reconnect.backoff.max.ms": 1_000,
    }


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_name_and_a_password(protocol: str, mechanism: str) -> None:
    settings = _settings(security_protocol=protocol, sasl_mechanism=mechanism, **SASL)
    ours, native = aiokafka_config(settings), confluent_config(settings)
    assert ours["security_protocol"] == native["security.protocol"] == protocol
    assert ours["sasl_mechanism"] == native["sasl.mechanism"] == mechanism
    assert ours["sasl_plain_username"] == native["sasl.username"] == "node"
    assert ours["sasl_plain_password"] == native["sasl.password"] == PASSWORD
    assert (ours["ssl_context"] is None) == (protocol == "SASL_PLAINTEXT")
    AdminClient(native)  # librdkafka refuses what it does not know


def test_a_certificate_is_always_verified() -> None:
    settings = _settings(security_protocol="SSL", ssl_cafile=str(CERTIFICATES))
    context = ssl_context(settings.kafka)
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.get_ca_certs()
    native = confluent_config(settings)
    assert native["ssl.ca.location"] == str(CERTIFICATES)
    assert "enable.ssl.certificate.verification" not in native
    AdminClient(native)


def test_a_client_certificate_is_named_to_both() -> None:
    settings = _settings(security_protocol="SSL", ssl_certfile="c.pem", ssl_keyfile="k.pem")
    native = confluent_config(settings)
    assert native["ssl.certificate.location"] == "c.pem"
    assert native["ssl.key.location"] == "k.pem"
    with pytest.raises(ConfigurationError, match="ssl_certfile"):
        aiokafka_config(settings)


@pytest.mark.parametrize("text", [None, "not a certificate"])
def test_an_unusable_certificate_is_a_configuration_error(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "ca.pem"
    if text:
        path.write_text(text)
    settings = _settings(security_protocol="SSL", ssl_cafile=str(path))
    with pytest.raises(ConfigurationError, match="ssl_cafile") as caught:
        aiokafka_config(settings)
    assert "\n" not in str(caught.value)


def test_a_password_is_not_in_the_settings_that_are_shown() -> None:
    settings = _settings(security_protocol="SASL_SSL", **SASL)
    assert PASSWORD not in repr(settings)
    assert PASSWORD not in repr(settings.kafka)
