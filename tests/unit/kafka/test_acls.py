"""What each component may do on the cluster, and how the tools are told."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from modelmora.errors import NotAllowed
from modelmora.kafka.aclforms import kafka_acls, rpk, strimzi, together
from modelmora.kafka.acls import CLUSTER, NEEDS, Component, Grant, Operation, Resource, grants
from modelmora.kafka.admin import explain
from modelmora.kafka.denied import is_denial, not_allowed, on_topic, reason
from modelmora.kafka.topics import LANE_TOPICS, TABLE, Topic
from modelmora.settings import Settings

SETTINGS = Settings(namespace="ns")
CHANGING = {
    Operation.WRITE,
    Operation.CREATE,
    Operation.DELETE,
    Operation.ALTER_CONFIGS,
}
WRITING = {
    Component.NODE,
    Component.GATEWAY,
    Component.CLIENT,
    Component.TOPICS_CREATE,
    Component.COMPARE,
    Component.LOAD,
    Component.DLQ_REPLAY,
    Component.DLQ_PURGE,
    Component.GROUPS_RESET,
    Component.RESTORE,
}


def told(component: Component, **settings: Any) -> set[str]:
    return set(map(str, grants(component, SETTINGS.model_copy(update=settings))))


def test_every_topic_of_the_table_is_written_and_read_by_somebody() -> None:
    assert set(NEEDS) == set(Component)
    for topic in TABLE:
        writers = [name for name, need in NEEDS.items() if topic in need.writes]
        readers = [name for name, need in NEEDS.items() if topic in need.reads]
        assert {*writers} & {Component.NODE, Component.GATEWAY, Component.CLIENT}, topic
        # Both are for programs of others: nothing of ours reads them.
        assert readers or topic in {Topic.RESULTS_JSON, Topic.METRICS}, topic


@pytest.mark.parametrize("component", Component)
def test_who_only_looks_changes_nothing(component: Component) -> None:
    changes = any(each.operation in CHANGING for each in grants(component, SETTINGS))
    assert changes == (component in WRITING)


@pytest.mark.parametrize("component", Component)
def test_nothing_is_granted_twice_or_beyond_the_namespace(component: Component) -> None:
    found = grants(component, SETTINGS)
    assert len(set(found)) == len(found)
    for each in found:
        assert each.name.startswith("ns.") or (each.resource, each.name) == (
            Resource.CLUSTER,
            CLUSTER,
        )


def test_settings_that_ask_for_less_need_less() -> None:
    fixed = SETTINGS.topics.model_copy(update={"create": False})
    makes = {"Create on topics ns.*"}
    assert told(Component.NODE) - told(Component.NODE, topics=fixed) == makes | {
        "AlterConfigs on group ns.nodes"
    }
    assert told(Component.GATEWAY) - told(Component.GATEWAY, topics=fixed) == makes
    assert told(Component.TOPICS_CREATE, topics=fixed) >= makes
    once = told(Component.NODE, delivery="exactly_once") - told(Component.NODE)
    assert once == {"Write on transactional ids ns.nodes.*"}


def test_reply_topics_are_written_by_nodes_alone() -> None:
    named = {"reply_topics": ("answers", "team.*.replies")}
    more = told(Component.NODE, **named) - told(Component.NODE)
    assert more == {"Write on topic answers", "Write on topics team.*"}
    assert told(Component.GATEWAY, **named) == told(Component.GATEWAY)


def test_only_nodes_write_outcomes_and_only_they_and_gateways_read_what_was_told() -> None:
    outcomes = {Topic.RESULTS, Topic.RESULTS_JSON, Topic.PROGRESS}
    for name, need in NEEDS.items():
        assert name is Component.NODE or not need.writes & outcomes


def test_operations_stand_together_by_what_they_are_about() -> None:
    given = [
        on_topic(Operation.WRITE, "a"),
        on_topic(Operation.READ, "b"),
        on_topic(Operation.READ, "a"),
        on_topic(Operation.READ, "c"),
        on_topic(Operation.READ, "a"),
    ]
    assert together(given) == [
        (Resource.TOPIC, False, (Operation.READ, Operation.WRITE), ("a",)),
        (Resource.TOPIC, False, (Operation.READ,), ("b", "c")),
    ]


def test_a_shell_reads_every_principal_as_one_word() -> None:
    rights = {"User:CN=a b": grants(Component.DOCTOR, SETTINGS)}
    for form in (kafka_acls, rpk):
        for line in form(rights):
            words = shlex.split(line)
            assert words[words.index("--allow-principal") + 1] == "User:CN=a b"


def test_kafka_acls_gets_a_line_for_each_set_of_operations() -> None:
    lines = list(kafka_acls({"User:ns-dlq-replay": grants(Component.DLQ_REPLAY, SETTINGS)}))
    lanes = " ".join(f"--topic ns.{lane}" for lane in LANE_TOPICS.values())
    assert [line.partition("--add ")[2] for line in lines] == [
        f"--allow-principal User:ns-dlq-replay --operation {rest}"
        for rest in (
            "Read --operation Write --topic ns.dead-letters",
            f"Write {lanes} --topic ns.events --topic ns.audit",
            "Describe --group ns.cli",
            "Write --transactional-id ns.dlq",
        )
    ]
    (cluster,) = [line for line in kafka_acls({"User:d": grants(Component.DOCTOR, SETTINGS)})
                  if "--cluster" in line]  # fmt: skip
    assert "DescribeConfigs --cluster" in cluster
    every, _ = kafka_acls({"User:t": grants(Component.TOPICS, SETTINGS)})
    assert every.endswith(
        "Describe --operation DescribeConfigs --topic ns. --resource-pattern-type prefixed"
    )


def test_rpk_is_told_nothing_that_redpanda_lacks() -> None:
    lines = list(rpk({"User:n": grants(Component.NODE, SETTINGS)}))
    group = [line for line in lines if "--group" in line]
    assert [line.rpartition(" User:n ")[2] for line in group] == [
        "--operation read --group ns.nodes --group ns.nodes.shadow"
    ]


def test_a_kafka_user_says_the_same() -> None:
    granted = grants(Component.NODE, SETTINGS.model_copy(update={"delivery": "exactly_once"}))
    (user,) = strimzi({"User:CN=My_Node": granted}, "tls")
    assert user["metadata"]["name"] == "my-node"
    assert user["spec"]["authentication"] == {"type": "tls"}
    patterns = {"literal": False, "prefix": True}
    kinds = {
        "topic": Resource.TOPIC,
        "group": Resource.GROUP,
        "transactionalId": Resource.TRANSACTIONAL_ID,
    }
    said = {
        Grant(
            Operation(operation),
            kinds[acl["resource"]["type"]],
            acl["resource"]["name"],
            patterns[acl["resource"]["patternType"]],
        )
        for acl in user["spec"]["authorization"]["acls"]
        for operation in acl["operations"]
    }
    assert said == set(granted)
    (doctor,) = strimzi({"User:d": grants(Component.DOCTOR, SETTINGS)}, "scram-sha-512")
    assert {"resource": {"type": "cluster"}, "operations": ["DescribeConfigs"]} in doctor["spec"][
        "authorization"
    ]["acls"]


@pytest.mark.parametrize(
    "code",
    [
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    ],
)
def test_what_is_denied_is_named(code: int) -> None:
    needed = Grant(Operation.WRITE, Resource.TOPIC, "ns.events")
    for error in (KafkaError(code), KafkaException(KafkaError(code))):
        assert is_denial(error)
        said = explain(error, "host:1", needed)
        assert type(said) is NotAllowed
        assert str(said) == (
            "the broker denies us Write on topic ns.events; "
            "`modelmora topics acls` prints what to grant"
        )
        assert type(explain(error, "host:1")) is NotAllowed
    assert reason(KafkaError(code), needed) == str(said)
    other = KafkaError(KafkaError.POLICY_VIOLATION)
    assert reason(other, needed) == other.str()


def test_a_long_list_ends_in_a_number() -> None:
    said = str(not_allowed(*grants(Component.NODE, SETTINGS)))
    assert "and 31 more; `modelmora" in said
    assert "\n" not in said
