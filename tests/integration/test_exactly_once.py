"""Nodes that write outcomes and offsets in one transaction: killed, frozen, gone for good."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from modelmora.agents.partitions.janitor import committed
from modelmora.agents.partitions.ledger import metadata_of
from modelmora.broker import EmbeddedBroker
from modelmora.kafka.reading.standing import Standing
from modelmora.settings import Settings
from tests.checker import Delivery, gather, judge, read_ids
from tests.foreign import Broken, draft
from tests.integration.test_nodes import CAP_S, Yard
from tests.nodes import SESSION_S, NodeProcess, Observer, frozen
from tests.programs import eventually
from tests.topics import create_topic


@pytest.fixture
def yard(broker: EmbeddedBroker, namespace: str, tmp_path: Path) -> Yard:
    return Yard(broker, namespace, tmp_path)


def node(yard: Yard, name: str = "n1") -> NodeProcess:
    return yard.node(name, DELIVERY="exactly_once", LIMITS__GROUP_REQUESTS=8)


def send(yard: Yard, count: int, ms: float = 10.0) -> None:
    """Every tenth is broken; keys spread a model over the partitions."""
    kinds = list(Broken)
    yard.send(
        draft(
            "sleep",
            [f"input {n}"],
            {"ms": ms},
            broken=None if n % 10 else kinds[n // 10 % len(kinds)],
        )
        for n in range(count)
    )


def check(yard: Yard) -> None:
    """Nothing lost, nothing twice, for whoever reads what is committed."""
    yard.answered()
    expected = read_ids(yard.ids)
    found = gather(
        yard.servers, yard.group, yard.namespace, expected, delivery=Delivery.EXACTLY_ONCE
    )
    assert judge(found).violations == ()


@pytest.mark.parametrize(
    "kills", [(100,), pytest.param((20, 100, 180), marks=pytest.mark.faults)], ids=["one", "three"]
)
def test_a_node_that_is_killed_gives_nothing_twice(yard: Yard, kills: tuple[int, ...]) -> None:
    with node(yard) as one, closing(Observer(yard.servers, yard.namespace)) as seen:
        send(yard, 300)
        for count in kills:
            seen.until(lambda count=count: len(seen.results) >= count, "some outcomes")  # type: ignore[misc]
            one.kill()
            one.start().wait_ready()
        check(yard)
        assert one.stop() == 0


@pytest.mark.faults
def test_a_node_that_was_frozen_gives_nothing_that_another_gave(yard: Yard) -> None:
    with node(yard) as one, node(yard, "n2") as two:
        with closing(Observer(yard.servers, yard.namespace)) as seen:
            send(yard, 400)
            seen.until(lambda: len(seen.results) >= 40, "some outcomes")
            with frozen(one.process.pid):
                until = time.monotonic() + SESSION_S + 4
                eventually(lambda: time.monotonic() > until, "a long freeze", CAP_S)
        check(yard)
        assert one.stop() == two.stop() == 0


@pytest.fixture
def left_open(broker: EmbeddedBroker, namespace: str) -> Settings:
    """A group in which a bearer of `<group>.gone` has left a transaction open for a minute."""
    settings = Settings(bootstrap_servers=broker.bootstrap_servers, namespace=namespace)
    lane, bearer = f"{namespace}.requests.low", f"{settings.group}.gone"
    create_topic(broker.bootstrap_servers, lane)
    config = {"bootstrap.servers": broker.bootstrap_servers, "log_level": 0}
    consumer = Consumer(config | {"group.id": settings.group, "auto.offset.reset": "earliest"})
    with closing(consumer):
        consumer.subscribe([lane])
        eventually(lambda: consumer.poll(0.1) or consumer.assignment(), "an assignment", CAP_S)
        place = TopicPartition(lane, 0, 3, metadata_of(5, b"", bearer))
        consumer.commit(offsets=[place], asynchronous=False)
        timeout = {"transactional.id": bearer, "transaction.timeout.ms": 60_000}
        producer = Producer(config | timeout)
        producer.init_transactions(30)
        producer.begin_transaction()
        place.offset = 4
        producer.send_offsets_to_transaction([place], consumer.consumer_group_metadata(), 30)
    return settings


def test_a_transaction_that_a_dead_node_has_left_open_is_ended(left_open: Settings) -> None:
    lane = (f"{left_open.namespace}.requests.low", 0)
    standing = Standing(left_open)
    with closing(standing):
        with pytest.raises(KafkaException):
            standing.committed([lane], wait_s=1.0)
        assert committed(standing, {lane})[lane][0] == 3


def test_a_transaction_of_a_member_is_its_own_affair(
    left_open: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = (f"{left_open.namespace}.requests.low", 0)
    standing = Standing(left_open)
    monkeypatch.setattr("modelmora.kafka.reading.standing.ANSWER_S", 2.0)
    members = SimpleNamespace(members=[SimpleNamespace(client_id="gone")])
    monkeypatch.setattr(standing, "members", lambda _: members)
    with closing(standing), pytest.raises(KafkaException):
        committed(standing, {lane})
