"""Topics on a real broker, and what is said when it cannot be reached or refuses us."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaConnectionError
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from modelmora.broker import EmbeddedBroker, embedded
from modelmora.broker.config import server_properties
from modelmora.errors import ConfigurationError, Unreachable, WrongCredentials
from modelmora.kafka.admin import Admin, TopicState, check_lanes
from modelmora.kafka.connection import aiokafka_config, confluent_config
from modelmora.kafka.topics import CLUSTER_PARTITIONS, LANE_TOPICS, TABLE, Topic
from modelmora.kafka.writing.publisher import Publisher
from modelmora.settings import KafkaSettings, Settings, Timing, TopicSettings
from tests.topics import create_topic, produce

USER, PASSWORD = "node", "correct horse"


@pytest.fixture
def settings(broker: EmbeddedBroker, namespace: str) -> Settings:
    return Settings(
        bootstrap_servers=broker.bootstrap_servers,
        namespace=namespace,
        topics=TopicSettings(partitions=3),
    )


def _by_topic(states: list[TopicState]) -> dict[Topic, TopicState]:
    return {state.topic: state for state in states}


def test_creating_makes_the_table_and_again_changes_nothing(settings: Settings) -> None:
    topics = Admin(settings)
    assert {state.differs for state in topics.describe()} == {("missing",)}
    first = topics.create()
    assert [state.differs for state in first] == [()] * len(TABLE)
    assert check_lanes(first) == 3
    assert Admin(settings).create() == first == topics.describe()
    found = _by_topic(first)
    assert {found[topic].partitions for topic in (Topic.RESULTS, *LANE_TOPICS.values())} == {3}
    assert found[Topic.CONTROL].partitions == found[Topic.REGISTRY].partitions == 1


def test_missing_lanes_are_made_like_those_there_are(settings: Settings) -> None:
    servers = str(settings.bootstrap_servers)
    lane = Topic.NORMAL.full(settings.namespace)
    create_topic(servers, lane, partitions=5, message_timestamp_type="LogAppendTime")
    states = Admin(settings).create()
    assert check_lanes(states) == 5
    assert any("retention.ms" in fault for fault in _by_topic(states)[Topic.NORMAL].differs)


def test_what_differs_is_said(settings: Settings) -> None:
    servers, namespace = str(settings.bootstrap_servers), settings.namespace
    create_topic(servers, Topic.LOW.full(namespace), 2, message_timestamp_type="LogAppendTime")
    create_topic(servers, Topic.HIGH.full(namespace), 3)
    create_topic(servers, Topic.CONTROL.full(namespace), 4)
    states = _by_topic(Admin(settings).create())
    most = states[Topic.NORMAL].partitions
    assert f"2 partitions, another lane has {most}" in states[Topic.LOW].differs
    assert any("is CreateTime, not LogAppendTime" in d for d in states[Topic.HIGH].differs)
    assert "4 partitions, not 1" in states[Topic.CONTROL].differs
    with pytest.raises(ConfigurationError, match="equal partition counts"):
        check_lanes(states.values())


def test_a_lane_without_the_brokers_clock_is_refused(settings: Settings) -> None:
    create_topic(str(settings.bootstrap_servers), Topic.HIGH.full(settings.namespace), 3)
    with pytest.raises(ConfigurationError, match=r"requests\.high: message\.timestamp\.type"):
        check_lanes(Admin(settings).create())


def hasty(servers: str, namespace: str) -> Settings:
    return Settings(bootstrap_servers=servers, namespace=namespace, timing=Timing(broker_s=1))


def test_no_broker_is_told_within_the_wait(namespace: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        servers = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Unreachable, match=servers):
            Admin(hasty(servers, namespace)).create()


def test_a_server_that_is_silent_is_told_within_the_wait(namespace: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        servers = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Unreachable, match=servers):
            Admin(hasty(servers, namespace)).create()


@pytest.fixture
def guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a broker that asks for a name and a password (SCRAM-SHA-512)."""
    with socket.socket() as spare:
        spare.bind(("127.0.0.1", 0))
        port = spare.getsockname()[1]
    listener = f"SASL_PLAINTEXT://127.0.0.1:{port}"

    def properties(*arguments: object) -> str:
        text = server_properties(*arguments)  # type: ignore[arg-type]
        lines = {name: value for name, _, value in (x.partition("=") for x in text.splitlines())}
        lines["listeners"] += f",{listener}"
        lines["advertised.listeners"] += f",{listener}"
        lines["listener.security.protocol.map"] += ",SASL_PLAINTEXT:SASL_PLAINTEXT"
        lines["sasl.enabled.mechanisms"] = "SCRAM-SHA-512"
        jaas = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        lines["listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config"] = jaas
        return "".join(f"{name}={value}\n" for name, value in lines.items())

    monkeypatch.setattr(embedded, "server_properties", properties)
    with EmbeddedBroker(tmp_path) as own:
        client = AdminClient({"bootstrap.servers": own.bootstrap_servers})
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        change = UserScramCredentialUpsertion(USER, info, PASSWORD.encode())
        client.alter_user_scram_credentials([change])[USER].result(30)
        create_topic(own.bootstrap_servers, "plain")
        produce(own.bootstrap_servers, "plain", b"inside")
        yield f"127.0.0.1:{port}"


async def test_a_password_opens_all_three_clients_and_a_wrong_one_none(
    guarded: str, namespace: str
) -> None:
    def settings(password: str) -> Settings:
        kafka = KafkaSettings.model_validate(
            {
                "security_protocol": "SASL_PLAINTEXT",
                "sasl_username": USER,
                "sasl_password": password,
            }
        )
        return Settings(bootstrap_servers=guarded, namespace=namespace, kafka=kafka)

    right = settings(PASSWORD)
    # Where nobody says how many: it is done here, on a broker that no other test has to share.
    assert check_lanes(Admin(right).create()) == CLUSTER_PARTITIONS
    consumer = AIOKafkaConsumer("plain", auto_offset_reset="earliest", **aiokafka_config(right))
    async with consumer:
        assert (await consumer.getone()).value == b"inside"
    native = Consumer(confluent_config(right) | {"group.id": namespace})
    assert native.get_watermark_offsets(TopicPartition("plain", 0), timeout=30) == (0, 1)
    native.close()

    wrong = settings("battery staple")
    with pytest.raises(WrongCredentials):
        Admin(wrong).create()
    publisher = Publisher(wrong)
    with pytest.raises(WrongCredentials):
        await publisher.start()
    tail = AIOKafkaConsumer(**aiokafka_config(wrong))
    try:
        with pytest.raises(KafkaConnectionError):
            await tail.start()
    finally:
        await tail.stop()
