"""The CLI's view of real topics: created, described, read, traced, replayed."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from modelmora.errors import Code
from modelmora.kafka.reading.shown import Reader
from modelmora.kafka.topics import TABLE
from modelmora.messages import (
    ControlCommand,
    ControlVerb,
    EventKind,
    InferenceResult,
    LifecycleEvent,
    ProgressEvent,
    ProgressStage,
    Source,
    Status,
)
from modelmora.wire import (
    encode_control,
    encode_event,
    encode_progress,
    encode_result,
    new_request_id,
)
from tests.integration.cli_rig import PARTITIONS, SECRET, World, request


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
    assert "requests.low\n  3 partitions, 1 record, 24 h, content of callers" in bare.run(
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

    monkeypatch.setattr("modelmora.cli.cluster.events.print_json", take)
    world.run("events", "--follow", "--json", code=130)
    assert seen == ["0", "1"]


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
