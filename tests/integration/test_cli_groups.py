"""The CLI's view of a real group: its members, what they read and what nobody reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from modelmora.diagnostics.groups import Groups
from modelmora.diagnostics.nodes import read_nodes
from modelmora.errors import NotFound, Undecodable
from modelmora.kafka.admin import Admin
from modelmora.kafka.reading.shown import Reader
from modelmora.messages import (
    RegistryKind,
    RegistryRecord,
)
from modelmora.wire import (
    encode_registry,
    partition_of,
)
from tests.integration.cli_rig import PARTITIONS, World, request
from tests.programs import eventually


def test_groups_tell_owner_models_and_lag(world: World) -> None:
    lane = f"{world.namespace}.requests.low"
    for number in range(4):
        world.write("requests.low", request(str(number)), "m")
    model = RegistryRecord(RegistryKind.MODEL, "m", "1", "txt2embed", "/m", "node-a")
    world.write("registry", encode_registry(model), "MODEL:m@1")
    gone = RegistryRecord(RegistryKind.MODEL, "x", "1", "t", "/m", "n", present=False)
    world.write("registry", encode_registry(gone), "MODEL:x@1")

    home = partition_of(b"m", PARTITIONS)
    node = Consumer(
        {
            "bootstrap.servers": world.servers,
            "group.id": world.settings.group,
            "client.id": "node-a",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    try:
        node.subscribe([lane])
        assert node.consume(1, 60)
        node.commit(offsets=[TopicPartition(lane, home, 1)], asynchronous=False)
        told = world.json("groups", "describe")
        assert [member["id"] for member in told["members"]] == ["node-a"]
        assert (told["protocol"], told["session_ms"], told["heartbeat_ms"]) == (
            "classic",
            None,
            None,
        )
        (told_of,) = told["members"]
        assert told_of["standby"] is False
        share = told["partitions"][home]
        assert share["owner"] == "node-a"
        assert share["models"] == ["m"]
        assert share["lag"] == {"critical": None, "high": None, "normal": None, "low": 3}
        assert "3 records behind" in (world.run("groups", "describe") and world.err)
        assert world.settings.group in [row["name"] for row in world.json("groups", "list")]
    finally:
        node.close()
    with pytest.raises(NotFound, match="no group nonsense"):
        Groups(world.settings).describe("nonsense")


def test_any_group_is_told_with_all_that_it_reads(world: World) -> None:
    results, low = f"{world.namespace}.results", f"{world.namespace}.requests.low"
    places = [world.write("results", str(n).encode(), "same") for n in range(4)]
    home = int(places[0].split(":")[1])
    name = f"{world.namespace}.audience"
    reader = Consumer(
        {
            "bootstrap.servers": world.servers,
            "group.id": name,
            "client.id": "listener",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    try:
        reader.subscribe([results])
        assert reader.consume(1, 60)
        reader.commit(offsets=[TopicPartition(results, home, 1)], asynchronous=False)
        told = world.json("groups", "describe", name)
        assert [member["id"] for member in told["members"]] == ["listener"]
        assert told["partitions"] == []
        rows = {row["partition"]: row for row in told["reads"]}
        assert {row["topic"] for row in told["reads"]} == {results}
        assert len(rows) == PARTITIONS
        assert rows[home] == {
            "topic": results,
            "partition": home,
            "committed": 1,
            "end": 4,
            "lag": 3,
            "owner": "listener",
        }
        other = rows[(home + 1) % PARTITIONS]
        assert (other["committed"], other["lag"]) == (None, None)
        shown = world.run("groups", "describe", name)
        assert "listener" in shown
        assert "3 records behind" in world.err
    finally:
        reader.close()
    # Nobody is in it any more, and it has committed on another topic meanwhile.
    late = Consumer({"bootstrap.servers": world.servers, "group.id": name})
    late.commit(offsets=[TopicPartition(low, 0, 0)], asynchronous=False)
    late.close()
    told = world.json("groups", "describe", name)
    assert (told["state"], told["members"]) == ("empty", [])
    assert {row["topic"] for row in told["reads"]} == {results, low}
    world.run("groups", "describe", name.replace("audience", "audiense"), code=3)
    assert f"did you mean {name}?" in world.err


def test_marks_of_transactions_are_nothing_that_waits(world: World) -> None:
    lane = f"{world.namespace}.requests.low"
    producer = Producer({"bootstrap.servers": world.servers, "transactional.id": lane})
    producer.init_transactions(30)
    for _ in range(2):
        producer.begin_transaction()
        producer.produce(lane, b"x", partition=0)
        producer.commit_transaction(30)
    name = world.settings.group
    group = Consumer({"bootstrap.servers": world.servers, "group.id": name})
    Path("modelmora.yaml").write_text("{http_port: 0, grpc_port: 0, node_http_port: 0}")
    try:
        for committed, lag in ((0, 4), (1, 3), (4, 0), (3, 0)):
            place = TopicPartition(lane, 0, committed)
            group.commit(offsets=[place], asynchronous=False)
            told = world.json("groups", "describe", name)
            (row,) = (each for each in told["reads"] if each["topic"] == lane and each["end"])
            assert (row["committed"], row["end"], row["lag"]) == (committed, 4, lag)
        assert "lanes" not in {row["check"] for row in world.json("doctor")}
    finally:
        group.close()


def test_the_doctor_looks_at_the_topics(bare: World) -> None:
    Path("modelmora.yaml").write_text("{http_port: 0, grpc_port: 0, node_http_port: 0}")
    (topics,) = [row for row in bare.json("doctor") if row["check"] == "topics"]
    assert (topics["state"], topics["fix"]) == ("note", "run `modelmora topics create`")
    bare.run("topics", "create")
    (topics,) = [row for row in bare.json("doctor") if row["check"] == "topics"]
    assert topics["state"] == "ok"


def test_groups_and_doctor_tell_the_protocol_and_who_reads(world: World) -> None:
    """Two members of one name, of which one is on standby: there is one partition for both."""
    Path("modelmora.yaml").write_text("{http_port: 0, grpc_port: 0, node_http_port: 0}")
    world.write("requests.low", request("waits"), "m")

    def lanes() -> dict[str, Any]:
        return {row["check"]: row for row in world.json("doctor", code=1)}

    alone = lanes()
    assert "records wait where no node reads" in alone["lanes"]["found"]
    assert alone["group"]["state"] == "note"
    assert Admin(world.settings).configure_group() is None
    config = {
        "bootstrap.servers": world.servers,
        "group.id": world.settings.group,
        "group.protocol": "consumer",
        "group.remote.assignor": "range",
        "client.id": "node-a",
    }
    members = [Consumer(config) for _ in range(2)]
    try:
        for each in members:
            each.subscribe([f"{world.namespace}.control"])

        def joined() -> bool:
            for each in members:
                each.poll(0.1)
            return len(world.json("groups", "describe")["members"]) == 2

        eventually(joined, "two members")
        told = world.json("groups", "describe")
        assert (told["protocol"], told["session_ms"], told["heartbeat_ms"]) == (
            "consumer",
            10_000,
            1_000,
        )
        world.run("groups", "describe")
        assert "protocol consumer (KIP-848), session 10 s, heartbeat 1 s" in world.err
        seen = lanes()
        assert seen["members"]["found"] == "2 members are called node-a"
        assert "protocol consumer (KIP-848), session 10 s" in seen["group"]["found"]
        assert seen["lanes"]["state"] == "WRONG"
    finally:
        for each in members:
            each.close()


def test_wrong_bytes_on_the_registry_are_an_error_of_one_line(world: World) -> None:
    world.write("registry", b"nonsense", "k")
    with Reader(world.settings) as reader, pytest.raises(Undecodable):
        read_nodes(reader, world.settings)
