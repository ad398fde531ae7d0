"""The CLI's view of real topics: created, described, read, traced, replayed."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from modelmora.broker import EmbeddedBroker
from modelmora.cli import main
from modelmora.cli.groups import Groups, served_models
from modelmora.cli.reading import Reader, Record
from modelmora.errors import Code, NotFound, Undecodable
from modelmora.kafka.topics import TABLE
from modelmora.messages import (
    ControlCommand,
    ControlVerb,
    EventKind,
    InferenceRequest,
    InferenceResult,
    LifecycleEvent,
    ProgressEvent,
    ProgressStage,
    RegistryKind,
    RegistryRecord,
    Source,
    Status,
)
from modelmora.settings import Settings, TopicSettings
from modelmora.wire import (
    encode_control,
    encode_event,
    encode_progress,
    encode_registry,
    encode_request,
    encode_result,
    new_request_id,
    partition_of,
)

PARTITIONS = 3
SECRET = "a secret text"


class World:
    """One namespace with its topics, a producer, and the command."""

    def __init__(self, servers: str, namespace: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.servers = servers
        self.namespace = namespace
        self.settings = Settings(
            namespace=namespace,
            bootstrap_servers=servers,
            topics=TopicSettings(partitions=PARTITIONS),
        )
        self.err = ""
        self._capsys = capsys
        self._producer = Producer(
            {"bootstrap.servers": servers, "partitioner": "murmur2_random", "log_level": 0}
        )

    def run(self, *arguments: str, code: int = 0) -> str:
        """The command's stdout; its exit code must be this."""
        self._capsys.readouterr()
        got = main([*arguments, "--bootstrap-servers", self.servers])
        out, self.err = self._capsys.readouterr()
        assert got == code, self.err
        assert SECRET not in out + self.err
        return out

    def json(self, *arguments: str, code: int = 0) -> Any:
        """The command's stdout as JSON."""
        return json.loads(self.run(*arguments, "--json", code=code))

    def write(
        self,
        topic: str,
        value: bytes | None,
        key: str | None = None,
        headers: Mapping[str, bytes] | None = None,
    ) -> str:
        """Write a record and wait for the broker; its topic:partition:offset."""
        places: list[str] = []
        self._producer.produce(
            f"{self.namespace}.{topic}",
            value,
            key.encode() if key else None,
            headers=dict(headers or {}),
            on_delivery=lambda error, m: places.append(
                str(error) if error else f"{m.topic()}:{m.partition()}:{m.offset()}"
            ),
        )
        assert self._producer.flush(30) == 0
        return places[0]

    def bury(self, value: bytes, source: str, code: Code, **more: bytes) -> str:
        """Write a dead letter as a node does."""
        topic, partition, offset = source.rsplit(":", 2)
        headers = {
            "own": b"\xff",
            "__connect.errors.topic": topic.encode(),
            "__connect.errors.partition": partition.encode(),
            "__connect.errors.offset": offset.encode(),
            "__connect.errors.exception.message": b"it died",
            "modelmora-error-code": code.encode(),
            "modelmora-attempt": b"2",
        }
        return self.write("dead-letters", value, "m", headers | more)

    def records(self, topic: str) -> list[Record]:
        """Everything on a topic."""
        with Reader(self.settings) as reader:
            places = reader.places(f"{self.namespace}.{topic}")
            return list(reader.read(reader.since(places, None)))


@pytest.fixture
def bare(
    broker: EmbeddedBroker,
    namespace: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> World:
    """A namespace without topics."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODELMORA_NAMESPACE", namespace)
    monkeypatch.setenv("MODELMORA_TOPICS__PARTITIONS", str(PARTITIONS))
    return World(broker.bootstrap_servers, namespace, capsys)


@pytest.fixture
def world(bare: World) -> World:
    """A namespace with its topics."""
    bare.run("topics", "create")
    return bare


def request(request_id: str, model: str = "m") -> bytes:
    return encode_request(InferenceRequest(request_id, model, (SECRET,)))


def test_topics_are_created_once_and_described(bare: World) -> None:
    missing = bare.json("topics", "list")
    assert [row["exists"] for row in missing] == [False] * len(TABLE)
    created = bare.json("topics", "create")
    assert all(row["created"] and not row["differs"] for row in created)
    again = bare.json("topics", "create")
    assert not any(row["created"] for row in again)
    assert f"0 created, {len(TABLE)} were there" in bare.err

    bare.write("requests.low", request("one"), "m")
    (low,) = bare.json("topics", "describe", "requests.low")
    assert (low["partitions"], low["records"], low["content"]) == (PARTITIONS, 1, True)
    assert "requests.low\n  3 partitions, 1 records, 24 h, content of callers" in bare.run(
        "topics", "describe", f"{bare.namespace}.requests.low"
    )
    bare.run("topics", "describe", "nonsense", code=3)


def test_what_is_missing_is_not_found_and_says_what_to_do(bare: World) -> None:
    for verb in (["events"], ["dlq", "list"], ["trace", "x"]):
        bare.run(*verb, code=3)
        assert "modelmora topics create" in bare.err


def test_a_trace_is_the_whole_story_of_one_request_without_content(world: World) -> None:
    one, other = new_request_id(), new_request_id()
    for request_id in (other, one):
        world.write("requests.high", request(request_id), "m")
        accepted = ProgressEvent(request_id, ProgressStage.ACCEPTED, "m", 0)
        world.write("progress", encode_progress(accepted), request_id)
        command = ControlCommand(ControlVerb.CANCEL, request_id)
        world.write("control", encode_control(command), request_id)
        result = InferenceResult(
            request_id, Status.CANCELLED, "m", "1", Source("t", 0, 0), outputs=(SECRET,)
        )
        world.write("results", encode_result(result), request_id)
    world.bury(request(one), f"{world.namespace}.requests.high:0:0", Code.WORKER_CRASH)

    told = world.json("trace", one)
    assert {step["topic"]: step["what"].split(",")[0].split(" ")[0] for step in told} == {
        "requests.high": "for",
        "progress": "accepted",
        "control": "CANCEL",
        "results": "CANCELLED",
        "dead-letters": "worker_crash:",
    }
    assert [step["time"] for step in told] == sorted(step["time"] for step in told)
    assert told[0]["topic"] == "requests.high"
    assert "COMPLETED" not in world.run("trace", one)
    world.run("trace", new_request_id(), code=3)


def test_an_id_without_a_time_is_traced_from_the_beginning(world: World) -> None:
    world.write("requests.low", request("order 7"), None)
    (step,) = world.json("trace", "order 7")
    assert step["topic"] == "requests.low"


def test_dead_letters_are_listed_shown_and_replayed_byte_for_byte(world: World) -> None:
    lane = f"{world.namespace}.requests.low"
    first, second = request("one"), request("two")[:-4]
    source = world.write("requests.low", first, "m")
    place = world.bury(first, source, Code.WORKER_CRASH)
    world.bury(second, f"{lane}:0:99", Code.UNDECODABLE)

    listed = world.json("dlq", "list")
    assert [(row["request_id"], row["code"]) for row in listed] == [
        ("one", "worker_crash"),
        ("two", "undecodable"),
    ]
    assert [row["code"] for row in world.json("dlq", "list", "--code", "undecodable")] == [
        "undecodable"
    ]
    assert len(world.json("dlq", "list", "--last", "1")) == 1
    for selector in ("one", place, source, place.removeprefix(f"{world.namespace}.")):
        assert [row["place"] for row in world.json("dlq", "show", selector)] == [place]
    world.run("dlq", "show", "three", code=3)
    world.run("dlq", "show", f"{lane}:0:98", code=3)
    world.run("dlq", "show", "dead-letters:0:999999", code=3)

    (row,) = world.json("dlq", "replay", "one")
    topic, partition, offset = row["to"].rsplit(":", 2)
    assert topic == lane
    (back,) = [r for r in world.records("requests.low") if r.place == row["to"]]
    assert (back.value, back.key, back.headers) == (first, b"m", (("own", b"\xff"),))
    assert int(partition) == partition_of(b"m", PARTITIONS)
    assert int(offset) == 1
    assert len(world.json("dlq", "replay", "--all")) == 2


def test_content_is_shown_only_when_asked(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    value = request("one")
    world.bury(value, "t:0:0", Code.WORKER_CRASH)
    world.run("dlq", "show", "one")
    assert "--content" in world.err
    asked = ["dlq", "show", "one", "--content", "--bootstrap-servers", world.servers]
    assert main(asked) == 0
    shown = capsys.readouterr().out
    assert SECRET in shown
    assert shown.replace("\n", "").isprintable()
    assert main([*asked, "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert base64.b64decode(told["value_base64"]) == value


def test_what_cannot_be_replayed_says_why(world: World) -> None:
    world.bury(request("one"), f"{world.namespace}.requests.low:0:0", Code.TOO_LARGE)
    cut = {"modelmora-sha256": b"00"}
    world.bury(request("two"), f"{world.namespace}.requests.low:0:1", Code.TOO_LARGE, **cut)
    world.write("dead-letters", b"someone else's")
    rows = world.json("dlq", "replay", "--all", code=1)
    assert sorted((row["why"] or "") for row in rows) == [
        "",
        "its headers name no topic to go back to",
        "only its first 64 KiB were kept",
    ]


def event(number: int) -> bytes:
    return encode_event(LifecycleEvent(str(number), EventKind.LOADED, "node-a", 1, "m", "1"))


def test_events_oldest_first(world: World) -> None:
    for number in range(5):
        world.write("events", event(number), "m", {"ce_id": str(number).encode()})
    assert [row["id"] for row in world.json("events", "--last", "3")] == ["2", "3", "4"]
    assert world.run("events").count("m@1") == 5


def test_events_are_followed_as_they_come(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world.write("events", event(0), "m", {"ce_id": b"0"})
    seen: list[str] = []

    def take(value: Any, *, line: bool = False) -> None:
        assert line
        seen.append(value["id"])
        if len(seen) == 1:
            # It is reading now: what is written from here on must be met.
            threading.Thread(
                target=world.write, args=("events", event(1), "m", {"ce_id": b"1"})
            ).start()
        else:
            raise KeyboardInterrupt

    monkeypatch.setattr("modelmora.cli.events.print_json", take)
    world.run("events", "--follow", "--json", code=130)
    assert seen == ["0", "1"]


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


def test_the_doctor_looks_at_the_topics(bare: World) -> None:
    Path("modelmora.yaml").write_text("{http_port: 0, grpc_port: 0, node_http_port: 0}")
    (topics,) = [row for row in bare.json("doctor") if row["check"] == "topics"]
    assert (topics["state"], topics["fix"]) == ("note", "run `modelmora topics create`")
    bare.run("topics", "create")
    (topics,) = [row for row in bare.json("doctor") if row["check"] == "topics"]
    assert topics["state"] == "ok"


def test_reading_ends_where_the_topic_ended_when_it_began(world: World) -> None:
    for number in range(3):
        world.write("control", str(number).encode())
    with Reader(world.settings) as reader:
        places = reader.places(f"{world.namespace}.control")
        records = reader.read(reader.since(places, None))
        first = next(records)
        world.write("control", b"later")
        assert [first.value, *(record.value for record in records)] == [b"0", b"1", b"2"]
        assert list(reader.read(reader.since(places, first.timestamp + 3_600_000))) == []
        assert reader.one(f"{world.namespace}.control", 0, 3) is not None
        assert reader.one(f"{world.namespace}.control", 7, 0) is None


def test_wrong_bytes_on_the_registry_are_an_error_of_one_line(world: World) -> None:
    world.write("registry", b"nonsense", "k")
    with Reader(world.settings) as reader, pytest.raises(Undecodable):
        served_models(reader, world.settings)
