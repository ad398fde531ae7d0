"""The lies that a node's health has told, or that others' have, each by its name."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from modelmora.heard import FRESH_S, LastWord
from modelmora.kafka.pulse import Pulse
from modelmora.kafka.reading.fetches import Fetches
from modelmora.node import wellness
from modelmora.node.health import health_app
from modelmora.node.lookout import EXIT_CODE
from modelmora.node.metrics import NodeMetrics
from modelmora.node.node import Node
from modelmora.node.wellness import Seen, signs_of
from modelmora.resources.disk import disk_fault
from modelmora.settings import Settings
from modelmora.telemetry.health import Sign, Verdict, judge
from modelmora.testing.fakes import FakeTime

PATIENCE_S, LEASE_S = 15.0, 10.0


def verdict(**seen: Any) -> Verdict:
    return judge(signs_of(replace(Seen(), **seen), PATIENCE_S, LEASE_S))


def test_who_is_well_says_so() -> None:
    well = verdict()
    assert (well.ready, well.why, well.degraded) == (True, {}, {})
    assert set(well.checks.values()) == {True}


@pytest.mark.parametrize(
    ("lie", "seen", "check"),
    [
        ("ready before it has its partitions", {"running": False}, "running"),
        ("ready after a stop has begun", {"running": False}, "running"),
        ("ready though the broker is gone", {"alive": False}, "broker"),
        ("ready though it lets nobody in", {"alive": False, "refused": "no"}, "broker"),
        ("ready by an answer of long ago", {"answered_s": PATIENCE_S}, "broker"),
        ("ready though the producer is cut off", {"connected": False}, "broker"),
        ("ready with a producer that is wedged", {"unacknowledged_s": PATIENCE_S}, "outcomes"),
        ("ready though the group has another view", {"member": False}, "group"),
        ("standby while partitions have no owner", {"reads": False}, "group"),
        ("a member by what was seen of long ago", {"looked_s": PATIENCE_S}, "group"),
        ("ready with a thread that hangs", {"stands_s": PATIENCE_S}, "group"),
        ("rejoined, and nothing is read", {"unread_s": PATIENCE_S}, "requests"),
        ("rejoined, and nothing is fetched", {"fetched_s": PATIENCE_S}, "requests"),
        ("ready though orders are not heard", {"registry": "it cannot be read"}, "registry"),
        ("ready, and dead to all others", {"lapsing_s": LEASE_S}, "registry"),
        ("ready with a dead backend", {"zygote": False}, "workers"),
        ("ready with a backend that is frozen", {"silent_s": PATIENCE_S}, "workers"),
        ("ready with models that cannot be loaded", {"hopeless": True}, "models"),
        ("ready with models on a disk that hangs", {"files_s": PATIENCE_S}, "models"),
    ],
)
def test_ready_is_no(lie: str, seen: dict[str, Any], check: str) -> None:
    found = verdict(**seen)
    assert not found.ready, lie
    assert [name for name, well in found.checks.items() if not well] == [check]
    assert [*found.why] == [check]


@pytest.mark.parametrize(
    "age", ["answered_s", "unacknowledged_s", "looked_s", "stands_s", "unread_s", "fetched_s"]
)
def test_an_age_is_no_fault_before_its_time(age: str) -> None:
    assert verdict(**{age: PATIENCE_S - 0.1}).ready


@pytest.mark.parametrize(
    ("seen", "part"),
    [
        ({"disk": "full"}, "disk"),
        ({"store": "silent"}, "object_store"),
        ({"schemas": "silent"}, "schema_registry"),
        ({"careful": "deaths"}, "pace"),
        ({"untold_s": PATIENCE_S}, "telling"),
        ({"twin_s": 0.1}, "name"),
        ({"ahead_s": 5.0}, "clock"),
        ({"ahead_s": -3600.0}, "clock"),
        ({"topics": "results was made anew"}, "topics"),
    ],
)
def test_what_not_all_need_is_told_and_leaves_it_ready(seen: dict[str, Any], part: str) -> None:
    found = verdict(**seen)
    assert found.ready
    assert [*found.degraded] == [part]


def test_the_ages_are_told_before_they_are_faults() -> None:
    ages = verdict(unacknowledged_s=3.14159, unread_s=2, fetched_s=1, stalled_s=0.25).ages
    assert (ages["outcome"], ages["unread"], ages["fetch"], ages["loop"]) == (3.1, 2, 1, 0.2)
    assert ages.keys() >= {"answer", "look", "turn", "lease", "files", "untold"}


def test_of_two_signs_of_one_check_the_unwell_one_counts() -> None:
    for signs in ([Sign("a"), Sign("a", "no")], [Sign("a", "no"), Sign("a")]):
        assert judge(signs).checks == {"a": False}


async def test_live_is_told_while_it_is_not_ready_and_both_are_counted() -> None:
    metrics = NodeMetrics()
    found = verdict(unread_s=99.6, disk="full")
    metrics.judged(lambda: found)
    facts = {"waiting_for": None, "partitions": 1}
    transport = httpx.ASGITransport(health_app(lambda: found, lambda: facts, list, metrics))
    async with httpx.AsyncClient(transport=transport, base_url="http://node") as client:
        assert (await client.get("/health/live")).status_code == 200
        ready = await client.get("/health/ready")
        assert ready.status_code == 503
        assert ready.json()["why"] == {"requests": "records were not read for 99.6 s"}
        assert ready.json()["degraded"] == {"disk": "full"}
        told = (await client.get("/metrics")).text
    for line in (
        'modelmora_healthy{check="requests"} 0.0',
        'modelmora_healthy{check="broker"} 1.0',
        'modelmora_healthy{check="disk"} 0.0',
        'modelmora_age_seconds{of="unread"} 99.0',
    ):
        assert line in told


def test_what_is_well_again_is_told_so() -> None:
    """Who keeps the last value of each series would take it for unwell for ever."""
    metrics, seen = NodeMetrics(), dict[str, Any]()
    metrics.judged(lambda: verdict(**seen))
    for disk, value in (("full", 0), (None, 1)):
        seen["disk"] = disk
        assert metrics.registry.get_sample_value("modelmora_healthy", {"check": "disk"}) == value


@pytest.fixture
async def node(tmp_path: Path) -> Node:
    settings = Settings(bootstrap_servers="127.0.0.1:1", dynamic_member=True, data_dir=tmp_path)
    return Node(settings)


async def test_a_registry_that_is_not_read_to_its_end(node: Node) -> None:
    assert "registry" in node.wellness.verdict().why


async def test_a_reader_that_hangs_ends_its_node(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its group learns it from librdkafka; without an end nobody would start it again."""
    monkeypatch.setattr(Pulse, "alive", True)
    monkeypatch.setattr(wellness, "LOOK_S", 0.001)
    monkeypatch.setattr(wellness.Wellness, "stands_s", property(lambda self: self._vain * 10.0))
    node.member.turns = 7
    watch = asyncio.create_task(node.wellness.watch())
    try:
        assert await asyncio.wait_for(asyncio.shield(node.failure), 60) == EXIT_CODE
    finally:
        watch.cancel()


async def test_a_reader_that_comes_round_after_a_leap_of_the_clock_goes_on(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after SIGSTOP and SIGCONT: looks count, not seconds."""
    monkeypatch.setattr(Pulse, "alive", True)
    monkeypatch.setattr(wellness, "LOOK_S", 0.001)
    looks = 0

    async def sleep(_: float) -> None:
        nonlocal looks
        looks += 1
        node.member.turns += looks % 2  # every second look is in vain
        if looks > 50:
            raise asyncio.CancelledError

    monkeypatch.setattr(wellness, "asyncio", SimpleNamespace(sleep=sleep))
    with pytest.raises(asyncio.CancelledError):
        await node.wellness.watch()
    assert not node.failure.done()
    assert node.wellness.stands_s < 1


async def test_a_reader_that_waits_for_a_frozen_broker_is_not_to_blame(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    async def sleep(_: float) -> None:
        nonlocal looks
        looks += 1
        node.stopping = looks > 100

    monkeypatch.setattr(wellness, "asyncio", SimpleNamespace(sleep=sleep))
    node.member.turns = 7
    await node.wellness.watch()
    assert (looks, node.failure.done(), node.wellness.stands_s) == (101, False, 0)


LANE = ("lane", 0)


def statistics(count: int, state: str = "active", waiting: int = 0) -> dict[str, Any]:
    lane = {"partitions": {"0": {"fetch_state": state, "fetchq_cnt": waiting}}}
    return {"brokers": {"b": {"req": {"Fetch": count}}}, "topics": {"lane": lane}}


def test_an_idle_node_that_fetches_is_well_and_one_that_does_not_is_seen() -> None:
    fetches = Fetches()
    assert fetches.idle_s(100) == 0, "it was told nothing yet"
    for now in (10, 12, 14):
        fetches.saw(statistics(now), {LANE}, now)
        assert fetches.idle_s(now) == 0
    for now in (16, 18):
        fetches.saw(statistics(14), {LANE}, now)
    assert fetches.idle_s(19) == 5, "no answer since 14"


def test_no_fetch_is_missed_while_what_was_fetched_waits_here() -> None:
    fetches = Fetches()
    for now in (10, 20, 30):
        fetches.saw(statistics(1, waiting=2_000), {LANE}, now)
        assert fetches.idle_s(now) == 0
    fetches.saw(statistics(1), {LANE}, 40)
    assert fetches.idle_s(40) == 10, "all is taken, and nothing was fetched since"


def test_a_partition_whose_fetcher_rests_is_seen_though_others_are_fetched() -> None:
    fetches = Fetches()
    fetches.saw(statistics(1), {LANE}, 10)
    for now in (12, 14):
        fetches.saw(statistics(now, "offset-wait"), {LANE}, now)
    assert fetches.idle_s(15) == 3
    fetches.saw(statistics(15), {LANE}, 16)
    assert fetches.idle_s(16) == 0


def test_a_partition_that_nobody_has_told_of_is_not_fetched() -> None:
    fetches = Fetches()
    for now in (10, 20):
        fetches.saw(statistics(now), {("lane", 7)}, now)
    assert fetches.idle_s(20) == 10


def test_what_is_gated_is_not_missed() -> None:
    fetches = Fetches()
    for now in (10, 20, 30):
        fetches.saw(statistics(1, "stopped"), set(), now)
        assert fetches.idle_s(now) == 0
    fetches.saw(statistics(1), {LANE}, 32)
    assert fetches.idle_s(33) == 3, "its last fetch is judged from when it was opened"


def test_what_was_silent_long_ago_says_nothing_of_now() -> None:
    time = FakeTime()
    last = LastWord(time)
    assert last.fault is None
    last.silent("it does not answer")
    time.now += 5
    assert last.fault == "it does not answer (5 s ago)"
    time.now += FRESH_S
    assert last.fault is None
    last.silent("again")
    last.answered()
    assert last.fault is None


def test_a_disk_that_takes_nothing_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert disk_fault(tmp_path) is None
    assert "cannot be used" in str(disk_fault(tmp_path / "gone"))

    def told(**more: int) -> SimpleNamespace:
        usual = {"f_bavail": 1 << 30, "f_frsize": 1, "f_files": 9, "f_favail": 9, "f_flag": 0}
        return SimpleNamespace(**usual | more)

    for more, why in (
        ({"f_bavail": 1 << 20}, "left on the disk"),
        ({"f_favail": 0}, "no more files"),
        ({"f_flag": 1}, "cannot be written to"),
        ({"f_files": 0, "f_favail": 0}, None),  # btrfs tells no number
    ):
        monkeypatch.setattr(os, "statvfs", lambda _, more=more: told(**more))
        found = disk_fault(tmp_path)
        assert (found is None) if why is None else (why in str(found))
