"""What people change on a cluster: letters purged, groups reset, and both told on `events`."""

from __future__ import annotations

from confluent_kafka import Consumer, TopicPartition

from modelmora.errors import Code
from modelmora.messages import EventKind
from modelmora.wire import decode_event
from tests.facts import faults
from tests.integration.cli_rig import SECRET, World, request
from tests.topics import create_topic


def told(world: World) -> list[tuple[object, ...]]:
    """Verb and counts of what was done, in order."""
    events = [decode_event(each.value) for each in world.records("events")]
    assert [fault for each in events for fault in faults(each)] == []
    return [
        (each.facts["verb"], each.facts.get("letters") or each.facts.get("partitions"))
        for each in sorted(events, key=lambda each: each.time)
        if each.kind is EventKind.ADMINISTERED
    ]


def test_purged_letters_are_gone_and_the_others_are_not(world: World) -> None:
    lane = f"{world.namespace}.requests.low"
    for number, code in enumerate((Code.WORKER_CRASH, Code.TOO_LARGE, Code.WORKER_CRASH)):
        world.bury(request(f"r{number}"), f"{lane}:0:{number}", code)

    def ids() -> list[str]:
        return [row["request_id"] for row in world.json("dlq", "list")]

    def beginning() -> int:
        with_letters = [each.place for each in world.records("dead-letters") if each.value]
        return min(int(place.rsplit(":", 1)[1]) for place in with_letters)

    world.run("dlq", "purge", code=2)
    world.run("dlq", "purge", "--all", code=2)
    assert "pass --yes" in world.err
    world.run("dlq", "purge", "--before", "1h", "--yes", code=3)
    world.run("dlq", "purge", "--code", "worker_crash", "--dry-run")
    assert ("2 dead letters would be purged" in world.err, told(world)) == (True, [])
    world.run("dlq", "purge", "--code", "worker_crash", "--yes")
    assert "purged 2 dead letters; 1 lie behind others" in world.err
    assert (ids(), beginning()) == (["r1"], 1)
    world.run("dlq", "show", "r0", code=3)
    world.run("dlq", "purge", "r0", "--yes", code=3)
    world.run("dlq", "replay", "--all", "--dry-run")
    assert "1 of 1 would go back" in world.err
    world.run("dlq", "purge", "r1", "--yes")
    assert (ids(), [each for each in world.records("dead-letters") if each.value]) == ([], [])
    assert told(world) == [("dlq purge", 2), ("dlq purge", 1)]
    assert SECRET.encode() not in b"".join(each.value or b"" for each in world.records("events"))


def test_a_replay_is_told_too(world: World) -> None:
    source = world.write("requests.low", request("one"), "m")
    world.bury(request("one"), source, Code.WORKER_CRASH)
    world.run("dlq", "replay", "one")
    assert told(world) == [("dlq replay", 1)]


def test_a_group_is_reset_once_nobody_reads(world: World) -> None:
    topic, group = f"{world.namespace}.mine", f"{world.namespace}.readers"
    create_topic(world.servers, topic, 1)
    for number in range(5):
        world.write("mine", str(number).encode())
    reader = Consumer(
        {
            "bootstrap.servers": world.servers,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    reader.subscribe([topic])
    assert reader.consume(1, 60)
    reader.commit(offsets=[TopicPartition(topic, 0, 3)], asynchronous=False)
    world.run("groups", "reset", group, "--to", "earliest", "--yes", code=1)
    assert "1 member" in world.err
    reader.close()

    def reset(to: str) -> int:
        ((row),) = world.json("groups", "reset", group, "--to", to, "--yes")
        ((now),) = world.json("groups", "describe", group)["reads"]
        assert now["committed"] == row["offset"]
        return int(row["offset"])

    assert [reset(to) for to in ("earliest", "2", "99", "latest", "1h", "2999-01-01")] == [
        0,
        2,
        5,
        5,
        0,
        5,
    ]
    world.run("groups", "reset", group, "--to", "earliest", code=2)
    world.run("groups", "reset", group, "--to", "nowhere", "--yes", code=2)
    world.run("groups", "reset", group, "--to", "0", "--topic", "other", "--yes", code=3)
    world.run("groups", "reset", "nobody", "--to", "earliest", "--yes", code=3)
    assert told(world) == [("groups reset", 1)] * 6
