"""One set of connection settings, said in the words of aiokafka and of librdkafka."""

from __future__ import annotations

import ssl
from typing import Any

from modelmora.errors import ConfigurationError
from modelmora.settings import KafkaSettings, Settings


def bootstrap_servers(settings: Settings) -> str:
    """The brokers to ask first; raises ConfigurationError when none is named."""
    if not settings.bootstrap_servers:
        raise ConfigurationError(
            "no broker is named; pass --bootstrap-servers host:port or run `modelmora serve`"
        )
    return settings.bootstrap_servers


def ssl_context(kafka: KafkaSettings) -> ssl.SSLContext | None:
    """The TLS context, or None where the protocol has none. Certificates are always verified."""
    if kafka.security_protocol not in ("SSL", "SASL_SSL"):
        return None
    try:
        context = ssl.create_default_context(cafile=kafka.ssl_cafile)
        if kafka.ssl_certfile:
            context.load_cert_chain(kafka.ssl_certfile, kafka.ssl_keyfile)
    except OSError as error:
        raise ConfigurationError(
            f"kafka.ssl_cafile, ssl_certfile or ssl_keyfile cannot be used: {error}"
        ) from None
    return context


def aiokafka_config(settings: Settings) -> dict[str, Any]:
    """Keyword arguments for aiokafka's clients."""
    kafka = settings.kafka
    config: dict[str, Any] = {
        "bootstrap_servers": bootstrap_servers(settings),
        "client_id": settings.namespace,
        "security_protocol": kafka.security_protocol,
        "ssl_context": ssl_context(kafka),
    }
    if credentials := kafka.credentials():
        username, password = credentials
        config |= {
            "sasl_mechanism": kafka.sasl_mechanism,
            "sasl_plain_username": username,
            "sasl_plain_password": password,
        }
    return config


def confluent_config(settings: Settings) -> dict[str, Any]:
    """Configuration for confluent-kafka's clients (librdkafka property names)."""
    kafka = settings.kafka
    config: dict[str, Any] = {
        "bootstrap.servers": bootstrap_servers(settings),
        "client.id": settings.namespace,
        "security.protocol": kafka.security_protocol,
        "log_level": 0,
        # By default whoever was tried in vain is let alone for ten seconds and more.
        "reconnect.backoff.max.ms": 1_000,
    }
    if credentials := kafka.credentials():
        username, password = credentials
        config |= {
            "sasl.mechanism": kafka.sasl_mechanism,
            "sasl.username": username,
            "sasl.password": password,
        }
    files = {
        "ssl.ca.location": kafka.ssl_cafile,
        "ssl.certificate.location": kafka.ssl_certfile,
        "ssl.key.location": kafka.ssl_keyfile,
    }
    return config | {name: str(path) for name, path in files.items() if path}


def group_config(settings: Settings, protocol: str) -> dict[str, Any]:
    """Configuration of a member, in librdkafka's names; `protocol` is `consumer` or `classic`."""
    session_ms = round(settings.timing.session_timeout_s * 1000)
    # A node whose loop stands ends itself before that. This is for what stops its threads as well:
    # librdkafka's own go on, and would keep the partitions for ever.
    poll_interval_ms = max(session_ms, round(settings.timing.watchdog_s * 2000))
    theirs = (
        {"group.protocol": "consumer", "group.remote.assignor": "range"}
        if protocol == "consumer"
        else {
            "group.protocol": "classic",
            "partition.assignment.strategy": "range",
            "session.timeout.ms": session_ms,
            "heartbeat.interval.ms": max(500, round(session_ms * 0.3)),
        }
    )
    return confluent_config(settings) | {
        "group.id": settings.group,
        "enable.auto.commit": False,
        "auto.offset.reset": "error",  # whoever knows what was committed decides
        "isolation.level": "read_committed",  # what was aborted was never asked
        "fetch.wait.max.ms": 100,
        "fetch.min.bytes": 1,
        "topic.metadata.refresh.interval.ms": 5_000,
        "max.poll.interval.ms": poll_interval_ms,
        # What one hand-over may hold (invariant I5): 8 of them may wait for the loop.
        "queued.max.messages.kbytes": 4_096,
        "queued.min.messages": 2_000,
        "fetch.max.bytes": 8 << 20,
        "fetch.queue.backoff.ms": 5,  # by default a full queue stops its partition for a second
        **theirs,
    }
