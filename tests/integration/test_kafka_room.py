"""Topics on a real broker, and what is said when it cannot be reached."""

from __future__ import annotations

import socket

import pytest

from modelmora.broker import EmbeddedBroker
from modelmora.errors import ConfigurationError, Unreachable
from modelmora.kafka.admin import Admin, TopicState, check_lanes
from modelmora.kafka.topics import LANE_TOPICS, TABLE, Topic
from modelmora.settings import Settings, Timing, TopicSettings
from tests.topics import create_topic


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
