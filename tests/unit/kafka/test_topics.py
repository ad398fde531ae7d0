"""The table of topics, the check of the lanes, and a client's errors in plain words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from confluent_kafka import KafkaError, KafkaException

from modelmora.errors import (
    ConfigurationError,
    ModelMoraError,
    NotAllowed,
    Unreachable,
    WrongCredentials,
)
from modelmora.kafka.admin import Admin, TopicState, check_lanes, explain
from modelmora.kafka.topics import (
    DEAD_LETTER_BYTES,
    LANE_TOPICS,
    REQUEST_BYTES,
    TABLE,
    Topic,
    lane_topics,
)
from modelmora.messages import Lane
from modelmora.settings import Settings

STATES = tuple(TopicState(topic, topic.full("ns"), True, 12, 1) for topic in TABLE)


def _with(topic: Topic, state: TopicState) -> list[TopicState]:
    return [state if old.topic is topic else old for old in STATES]


def test_every_topic_is_in_the_table_and_has_the_brokers_clock() -> None:
    assert set(TABLE) == set(Topic)
    for spec in TABLE.values():
        assert spec.broker_config()["message.timestamp.type"] == "LogAppendTime"
    assert TABLE[Topic.REGISTRY].broker_config()["cleanup.policy"] == "compact"


def test_a_dead_letter_holds_the_largest_request() -> None:
    assert DEAD_LETTER_BYTES >= REQUEST_BYTES + 128 * 1024
    assert TABLE[Topic.LOW].broker_config()["max.message.bytes"] == str(REQUEST_BYTES)
    assert TABLE[Topic.DEAD_LETTERS].broker_config()["max.message.bytes"] == str(DEAD_LETTER_BYTES)


def test_lanes_have_full_names() -> None:
    assert lane_topics(Settings(namespace="ns")) == {
        "ns.requests.critical": Lane.CRITICAL,
        "ns.requests.high": Lane.HIGH,
        "ns.requests.normal": Lane.NORMAL,
        "ns.requests.low": Lane.LOW,
    }


def test_equal_lanes_pass() -> None:
    assert check_lanes(STATES) == 12


@pytest.mark.parametrize("topic", TABLE)
def test_a_missing_topic_is_named(topic: Topic) -> None:
    gone = TopicState(topic, topic.full("ns"), exists=False, differs=("missing",))
    with pytest.raises(ConfigurationError, match=topic.full("ns")):
        check_lanes(_with(topic, gone))


@pytest.mark.parametrize("topic", LANE_TOPICS.values())
def test_unequal_lanes_are_refused(topic: Topic) -> None:
    odd = TopicState(topic, topic.full("ns"), True, 11, 1)
    with pytest.raises(ConfigurationError, match=f"{topic.full('ns')} 11"):
        check_lanes(_with(topic, odd))


@pytest.mark.parametrize("topic", LANE_TOPICS.values())
def test_another_clock_is_refused_and_other_differences_are_not(topic: Topic) -> None:
    (state,) = [state for state in STATES if state.topic is topic]
    longer = replace(state, differs=("retention.ms is 1, not 2",))
    assert check_lanes(_with(topic, longer)) == 12
    wrong = replace(state, differs=("message.timestamp.type is CreateTime, not LogAppendTime",))
    with pytest.raises(ConfigurationError, match="LogAppendTime"):
        check_lanes(_with(topic, wrong))


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (KafkaError._AUTHENTICATION, WrongCredentials),
        (KafkaError.SASL_AUTHENTICATION_FAILED, WrongCredentials),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, NotAllowed),
        (KafkaError._TRANSPORT, Unreachable),
        (KafkaError._ALL_BROKERS_DOWN, Unreachable),
        (KafkaError._TIMED_OUT, Unreachable),
        (KafkaError.POLICY_VIOLATION, ModelMoraError),
    ],
)
def test_a_clients_error_is_said_in_one_line(code: int, kind: type[ModelMoraError]) -> None:
    for error in (KafkaError(code), KafkaException(KafkaError(code))):
        said = explain(error, "host:1")
        assert type(said) is kind
        assert "\n" not in str(said)


def test_settings_that_librdkafka_refuses_are_a_configuration_error() -> None:
    settings = Settings.model_validate(
        {"bootstrap_servers": "a:1",
         "kafka": {"security_protocol": "SSL", "ssl_cafile": "/nowhere/ca.pem"}}
    )  # fmt: skip
    with pytest.raises(ConfigurationError) as caught:
        Admin(settings)
    assert "\n" not in str(caught.value)
