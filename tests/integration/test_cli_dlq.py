"""Dead letters on a real broker: listed, shown, counted, and replayed as runs of their ids."""

from __future__ import annotations

import base64
import io
import json
import sys
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from modelmora.cli import main
from modelmora.deadletters.choosing import planned
from modelmora.deadletters.letters import Letters, Wanted
from modelmora.deadletters.replays import Replayer, lanes_there
from modelmora.errors import Code, ModelMoraError
from modelmora.kafka.reading.shown import Reader
from modelmora.kafka.writing.producing import producer_config
from modelmora.wire import partition_of, readable_request_id
from tests.integration.cli_rig import PARTITIONS, SECRET, World, request
from tests.topics import create_topic, delete_topic


def test_letters_are_listed_shown_and_counted(world: World) -> None:
    lane = f"{world.namespace}.requests.low"
    first, second = request("one"), request("two")[:-4]
    source = world.write("requests.low", first, "m")
    place = world.bury(first, source, Code.WORKER_CRASH)
    world.bury(second, f"{lane}:0:99", Code.UNDECODABLE)
    world.bury(request("three", "other"), f"{lane}:0:98", Code.WORKER_CRASH)

    def ids(*options: str) -> list[str]:
        return [row["request_id"] for row in world.json("dlq", "list", *options)]

    assert ids() == ["one", "two", "three"]
    assert ids("--code", "undecodable") == ["two"]
    assert ids("--model", "m") == ["one", "two"]
    assert ids("--since", "1h") == ["one", "two", "three"]
    assert ids("--since", "2999-01-01") == []
    assert ids("--last", "1") == ["three"]
    assert "REPLAYED" in world.run("dlq", "list")
    counts = world.json("dlq", "list", "--count")
    assert sorted((row["code"], row["model"], row["letters"]) for row in counts) == [
        ("undecodable", "m", 1),
        ("worker_crash", "m", 1),
        ("worker_crash", "other", 1),
    ]
    for selector in ("one", place, source, place.removeprefix(f"{world.namespace}.")):
        assert [row["place"] for row in world.json("dlq", "show", selector)] == [place]
    for selector in ("four", f"{lane}:0:97", "dead-letters:0:999999", "dead-letters:77:0"):
        world.run("dlq", "show", selector, code=3)
    world.run("dlq", "list", "--since", "soon", code=2)


def test_content_is_shown_only_when_asked(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    value = request("one")
    world.bury(value, "t:0:0", Code.WORKER_CRASH)
    world.run("dlq", "show", "one")
    assert "--content" in world.err

    def shown(*options: str) -> str:
        assert main(["dlq", "show", "one", *options, "--bootstrap-servers", world.servers]) == 0
        return capsys.readouterr().out

    assert f'"{SECRET}"' in shown("--content")
    (told,) = json.loads(shown("--content", "--json"))
    assert told["request"]["inputs"] == [SECRET]
    (told,) = json.loads(shown("--raw", "--json"))
    assert base64.b64decode(told["value_base64"]) == value
    world.bury(value, "t:0:1", Code.WORKER_CRASH)
    world.run("dlq", "show", "one", "--raw", code=2)
    assert "name one by its place" in world.err


def test_raw_is_every_byte_and_no_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    value = request("one") + b"\xff\x00\x1b[2J\n"
    world.bury(value, "t:0:0", Code.TRAILING_BYTES)
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written))
    assert main(["dlq", "show", "one", "--raw", "--bootstrap-servers", world.servers]) == 0
    assert written.getvalue() == value


def replayed(world: World, *which: str, code: int = 0) -> list[tuple[Any, ...]]:
    """What a replay says: request id, run, and whether it went back."""
    rows = world.json("dlq", "replay", *which, code=code)
    return [(row["request_id"], row["run"], row["to"] is not None) for row in rows]


def test_a_replay_is_the_same_bytes_as_the_next_run(world: World) -> None:
    value = request("one")
    source = world.write("requests.low", value, "m")
    world.bury(value, source, Code.WORKER_CRASH)
    twin = world.bury(value, source, Code.WORKER_CRASH)  # by a node that took over
    nameless = world.bury(b"broken", f"{world.namespace}.requests.high:0:5", Code.UNDECODABLE)

    (row, _) = world.json("dlq", "replay", "--all", "--dry-run")
    assert (row["run"], row["to"]) == (2, f"{world.namespace}.requests.low")
    assert [letter["replayed"] for letter in world.json("dlq", "list")] == [None] * 3

    (row,) = world.json("dlq", "replay", "one")
    assert "modelmora trace one" in world.err
    (back,) = [each for each in world.records("requests.low") if each.place == row["to"]]
    headers = (("own", b"\xff"), ("modelmora-run", b"2"))
    assert (back.value, back.key, back.headers) == (value, b"m", headers)
    assert back.partition == partition_of(b"m", PARTITIONS)

    marks = {letter["place"]: letter["replayed"] for letter in world.json("dlq", "list")}
    assert marks[nameless] is None
    assert marks[twin]["run"] == 2
    assert marks[twin]["to"] == row["to"]
    assert "run 2" in world.run("dlq", "list")
    assert f"as run 2, to {row['to']}" in world.run("dlq", "show", twin)
    assert [step["what"] for step in world.json("trace", "one")][-2:] == [
        f"run 2: replayed to {row['to']}"
    ] * 2

    assert replayed(world, "one", code=1) == [("one", None, False)]
    assert replayed(world, "--all") == [(None, 2, True)]
    assert "2 letters replayed before left out" in world.err
    world.run("dlq", "replay", "--all", code=3)
    assert "3 letters replayed before" in world.err
    assert replayed(world, "one", "--again") == [("one", 3, True)]
    assert sorted(replayed(world, "--all", "--again"), key=str) == [
        ("one", 4, True),
        (None, 3, True),
    ]


def test_the_letter_of_a_failed_replay_is_the_one_that_counts(world: World) -> None:
    value = request("one")
    lane = f"{world.namespace}.requests.low"
    world.bury(value, f"{lane}:0:0", Code.WORKER_CRASH)
    assert replayed(world, "one") == [("one", 2, True)]
    again = world.bury(value, f"{lane}:0:1", Code.WORKER_CRASH, **{"modelmora-run": b"2"})
    assert [letter["run"] for letter in world.json("dlq", "list")] == [1, 2]
    assert [row["place"] for row in world.json("dlq", "replay", "one", "--dry-run")] == [again]
    assert replayed(world, "--all") == [("one", 3, True)]
    runs = [each.headers for each in world.records("requests.low")]
    assert runs == [(("own", b"\xff"), ("modelmora-run", run)) for run in (b"2", b"3")]


def test_a_run_that_a_stranger_wrote_harms_only_its_own_request(world: World) -> None:
    lane = f"{world.namespace}.requests.low"
    given = {b"x": 2, b"-1": 2, b"%d" % 10**9: 10**9 + 1, b"%d" % 2**31: 2, b"": 2}
    for number, header in enumerate(given):
        more = {"modelmora-run": header}
        world.bury(request(str(number)), f"{lane}:0:{number}", Code.WORKER_CRASH, **more)
    world.bury(request("last"), f"{lane}:0:9", Code.WORKER_CRASH)
    runs = {request_id: run for request_id, run, _ in replayed(world, "--all")}
    assert runs == dict(zip("01234", given.values(), strict=True)) | {"last": 2}
    for record in world.records("requests.low"):
        run = runs[readable_request_id(record.value)]
        assert record.headers == (("own", b"\xff"), ("modelmora-run", b"%d" % run))


def test_what_cannot_be_replayed_says_why_and_keeps_nothing_else(world: World) -> None:
    lane = f"{world.namespace}.requests.low"
    world.bury(request("one"), f"{lane}:0:0", Code.TOO_LARGE)
    cut = {"modelmora-sha256": b"00"}
    world.bury(request("two"), f"{lane}:0:1", Code.TOO_LARGE, **cut)
    world.write("dead-letters", b"someone else's")
    # Who may write here may not choose where a replay writes.
    world.bury(request("three"), f"{world.namespace}.control:0:1", Code.TOO_LARGE)
    rows = world.json("dlq", "replay", "--all", code=1)
    assert sorted((row["why"] or "") for row in rows) == [
        "",
        "its headers name no topic to go back to",
        "its headers name no topic to go back to",
        "only its first 64 KiB were kept",
    ]


def test_a_record_that_its_topic_takes_no_more_holds_up_no_other(world: World) -> None:
    lane = f"{world.namespace}.requests.low"
    world.bury(request("one"), f"{lane}:0:0", Code.WORKER_CRASH)
    large = request("two") + bytes(50_000)
    world.bury(large, f"{lane}:0:1", Code.TRAILING_BYTES)
    world.bury(request("three"), f"{lane}:0:2", Code.WORKER_CRASH)
    entry = ConfigEntry("max.message.bytes", "20000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, lane, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": world.servers})
    admin.incremental_alter_configs([resource])[resource].result(30)
    assert replayed(world, "--all", code=1) == [
        ("one", 2, True),
        ("two", 2, False),
        ("three", 2, True),
    ]
    assert len(world.records("requests.low")) == 2
    assert [letter["replayed"] is None for letter in world.json("dlq", "list")] == [
        False,
        True,
        False,
    ]


def test_a_letter_goes_back_to_a_topic_that_was_widened_or_made_anew(world: World) -> None:
    lane = f"{world.namespace}.requests.low"
    world.bury(request("one"), world.write("requests.low", request("one"), "m"), Code.WORKER_CRASH)
    admin = AdminClient({"bootstrap.servers": world.servers})
    admin.create_partitions([NewPartitions(lane, 7)])[lane].result(30)
    assert replayed(world, "one") == [("one", 2, True)]
    delete_topic(world.servers, lane)
    assert replayed(world, "one", "--again", code=1) == [("one", None, False)]
    create_topic(world.servers, lane, 1)
    assert replayed(world, "one", "--again") == [("one", 3, True)]
    (back,) = world.records("requests.low")
    assert back.headers == (("own", b"\xff"), ("modelmora-run", b"3"))


def test_of_two_who_replay_at_once_one_does(world: World) -> None:
    lane = f"{world.namespace}.requests.low"
    for number in range(3):
        world.bury(request(str(number)), f"{lane}:0:{number}", Code.WORKER_CRASH)
    with Reader(world.settings) as reader:
        letters = Letters(reader, world.settings)
        slow = Replayer(world.settings, reader, letters).open()
        lanes = [*lanes_there(reader, world.settings)]
        reruns, _ = planned(letters, lanes, (), Wanted(), again=False)
        assert len(replayed(world, "--all")) == 3
        with pytest.raises(ModelMoraError, match="someone else replays"):
            slow.write(reruns)
    assert len(world.records("requests.low")) == 3


def test_one_who_was_killed_in_the_middle_has_done_nothing(world: World) -> None:
    """Its transaction stays open, until the next one ends it."""
    lane = f"{world.namespace}.requests.low"
    world.bury(request("one"), f"{lane}:0:0", Code.WORKER_CRASH)
    config = producer_config(world.settings, 8.0) | {
        "transactional.id": f"{world.namespace}.dlq",
        "transaction.timeout.ms": 60_000,
    }
    killed = Producer(config)
    killed.init_transactions(30)
    killed.begin_transaction()
    killed.produce(lane, request("one"), b"m", headers=[("modelmora-run", b"2")])
    headers = [("modelmora-replay-of", b"0 0"), ("modelmora-run", b"2")]
    for partition in range(PARTITIONS):
        killed.produce(f"{world.namespace}.dead-letters", None, b"one", partition, headers=headers)
    killed.flush(30)
    assert [letter["replayed"] for letter in world.json("dlq", "list")] == [None]
    assert replayed(world, "one") == [("one", 2, True)]
    assert len(world.records("requests.low")) == 1


def test_what_strangers_wrote_steers_no_terminal(world: World) -> None:
    forged = "x\x1b[2J\r\nns:0:1  worker_crash  y\x9b\u202e"
    more = {"a\x1b[2J\n": b"\x1b[2J\n\xff", "__connect.errors.exception.message": forged.encode()}
    lane = f"{world.namespace}.requests.low"
    headers = {"traceparent": b"00-\x1b[2J\n-0-0", "modelmora-principal": forged.encode()}
    world.write("requests.low", request(forged, forged), forged, headers)
    place = world.bury(request(forged, forged), f"{lane}:0:0", Code.WORKER_CRASH, **more)
    for words in (
        ("dlq", "list"),
        ("dlq", "list", "--json"),
        ("dlq", "list", "--count"),
        ("dlq", "show", place),
        ("dlq", "show", forged),
        ("dlq", "replay", place, "--dry-run"),
        ("dlq", "replay", place),
        ("trace", forged),
        ("trace", forged, "--json"),
        ("groups", "list"),
        ("events",),
    ):
        told = world.run(*words) + world.err
        assert told.replace("\n", "").isprintable(), told
    assert main(["dlq", "show", place, "--content", "--bootstrap-servers", world.servers]) == 0


def test_what_is_no_text_is_refused_or_not_found(world: World) -> None:
    world.bury(request("one"), f"{world.namespace}.requests.low:0:0", Code.WORKER_CRASH)
    none = "a\udcff"
    for words, code in (
        (("trace", none), 2),
        (("dlq", "show", none), 3),
        (("dlq", "replay", none), 3),
        (("dlq", "replay", "--code", none), 3),
        (("dlq", "list", "--model", none), 0),
        (("dlq", "list", "--since", none), 2),
        (("groups", "describe", none), 3),
        (("groups", "reset", none, "--to", "latest", "--yes"), 3),
        (("topics", "describe", none), 3),
    ):
        told = world.run(*words, code=code) + world.err
        assert told.replace("\n", "").isprintable(), told
        assert "Unicode" not in told
        assert code == 0 or world.err.count("modelmora: ") == 1
