"""Who we are to a broker, by password or certificate, and what is said when it refuses us."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaConnectionError
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import ScramMechanism

from modelmora.errors import ConfigurationError, Unreachable, WrongCredentials
from modelmora.kafka.acls import Component, Grant, Operation, Resource, grants
from modelmora.kafka.admin import Admin, check_lanes
from modelmora.kafka.connection import aiokafka_config, confluent_config
from modelmora.kafka.topics import CLUSTER_PARTITIONS
from modelmora.kafka.writing.publisher import Publisher
from modelmora.settings import Settings, Timing
from tests.authorities import HOUR, Authority
from tests.guarded import PASSWORD, PLAIN_USER, Guarded
from tests.nodes import GatewayProcess, NodeProcess
from tests.programs import eventually
from tests.topics import create_topic, produce

SCRAM = {
    "SCRAM-SHA-512": ScramMechanism.SCRAM_SHA_512,
    "SCRAM-SHA-256": ScramMechanism.SCRAM_SHA_256,
}


def told(guarded: Guarded, namespace: str, user: str) -> str:
    """A topic with one record, which this user may read; its name."""
    topic = f"{namespace}.told"
    create_topic(guarded.inside, topic)
    produce(guarded.inside, topic, b"inside")
    guarded.grant(user, [Grant(Operation.READ, Resource.TOPIC, topic)])
    return topic


async def opens_all_three(settings: Settings, topic: str) -> None:
    """The admin's client, the consumer of aiokafka and that of librdkafka get in."""
    eventually(lambda: topic in Admin(settings).existing(), "that the topic may be read")
    consumer = AIOKafkaConsumer(topic, auto_offset_reset="earliest", **aiokafka_config(settings))
    async with consumer:
        assert (await consumer.getone()).value == b"inside"
    native = Consumer(confluent_config(settings) | {"group.id": "nobody"})
    assert native.get_watermark_offsets(TopicPartition(topic, 0), timeout=30) == (0, 1)
    native.close()


async def opens_none(settings: Settings, refusal: type[Unreachable]) -> str:
    """Each of them is refused, in one line; what the admin's client is told."""
    hasty = settings.model_copy(update={"timing": Timing(broker_s=2)})
    with pytest.raises(refusal) as caught:
        Admin(hasty).create()
    assert "\n" not in str(caught.value)
    publisher = Publisher(hasty)
    with pytest.raises(refusal):
        await publisher.start()
    tail = AIOKafkaConsumer(**aiokafka_config(hasty))
    try:
        with pytest.raises(KafkaConnectionError):
            await tail.start()
    finally:
        await tail.stop()
    return str(caught.value)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"])
async def test_a_password_opens_all_three_clients_and_a_wrong_one_none(
    guarded: Guarded, namespace: str, mechanism: str
) -> None:
    user = PLAIN_USER if mechanism == "PLAIN" else f"{namespace}-user"
    if mechanism in SCRAM:
        guarded.know(user, mechanism=SCRAM[mechanism])
    topic = told(guarded, namespace, user)

    def settings(password: str) -> Settings:
        found = guarded.settings(user, namespace).model_dump()
        secret = {"sasl_password": password, "sasl_mechanism": mechanism}
        return Settings.model_validate(found | {"kafka": found["kafka"] | secret})

    await opens_all_three(settings(PASSWORD), topic)
    said = await opens_none(settings("battery staple"), WrongCredentials)
    assert "battery" not in said


def test_topics_are_made_where_nobody_says_how_many(guarded: Guarded, namespace: str) -> None:
    user = f"{namespace}-user"
    guarded.know(user)
    settings = guarded.settings(user, namespace)
    guarded.grant(user, grants(Component.TOPICS_CREATE, settings))
    assert check_lanes(Admin(settings).create()) == CLUSTER_PARTITIONS


async def test_a_certificate_opens_all_three_clients_by_its_name(
    guarded: Guarded, namespace: str
) -> None:
    topic = told(guarded, namespace, f"{namespace}-user")
    pair = guarded.authority.peer(f"{namespace}-user")
    await opens_all_three(guarded.certified(namespace, pair), topic)


async def test_others_certificates_open_none(
    guarded: Guarded, namespace: str, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "stranger")
    old = guarded.authority.peer(f"{namespace}-old", -24 * HOUR)
    for pair in (None, stranger.peer(namespace), old):
        said = await opens_none(guarded.certified(namespace, pair), Unreachable)
        assert "certificate" in said
    trusting = guarded.certified(namespace, guarded.authority.peer(f"{namespace}-user"))
    kafka = trusting.kafka.model_copy(update={"ssl_cafile": stranger.file})
    said = await opens_none(trusting.model_copy(update={"kafka": kafka}), Unreachable)
    assert "ssl_cafile" in said


def test_node_and_gateway_come_by_certificates(
    guarded: Guarded, namespace: str, tmp_path: Path
) -> None:
    def own(component: Component) -> dict[str, object]:
        pair = guarded.authority.peer(f"{namespace}-{component}")
        settings = guarded.certified(namespace, pair)
        guarded.grant(f"{namespace}-{component}", grants(component, settings))
        return {
            "KAFKA__SECURITY_PROTOCOL": "SSL",
            "KAFKA__SSL_CAFILE": guarded.authority.file,
            "KAFKA__SSL_CERTFILE": pair.certfile,
            "KAFKA__SSL_KEYFILE": pair.keyfile,
        }

    with (
        NodeProcess(guarded.tls, namespace, tmp_path, settings=own(Component.NODE)),
        GatewayProcess(guarded.tls, namespace, tmp_path, settings=own(Component.GATEWAY)) as door,
        httpx.Client(base_url=door.http, timeout=60) as rest,
    ):
        answer = rest.post("/infer/echo", json={"inputs": ["hello"]})
        assert answer.status_code == 200, answer.text
    assert {each for each in guarded.denied if each[0].startswith(namespace)} == set()


def test_a_key_that_is_not_that_of_its_certificate_is_said(
    guarded: Guarded, namespace: str
) -> None:
    one, other = (guarded.authority.peer(f"{namespace}-{n}") for n in range(2))
    settings = guarded.certified(namespace, one)
    kafka = settings.kafka.model_copy(update={"ssl_keyfile": other.keyfile})
    with pytest.raises(ConfigurationError) as caught:
        Admin(settings.model_copy(update={"kafka": kafka}))
    assert "ssl" in str(caught.value).lower()
