"""The small parts of the hall: codes, traces, the waiting room, the registry, what was seen."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path

import grpc
import pytest
from aiokafka import ConsumerRecord

from modelmora.errors import Code
from modelmora.gateway.calls.replies import Seen
from modelmora.gateway.calls.waiting import End, Waiting, WaitingRoom
from modelmora.gateway.models import Directory
from modelmora.gateway.nodes import NodeWatch
from modelmora.gateway.outcomes import Refusal, answer_of
from modelmora.kafka.pulse import Pulse
from modelmora.kafka.reading.tail import Tail
from modelmora.messages import (
    Health,
    InferenceResult,
    RegistryKind,
    RegistryRecord,
    Source,
    State,
    Status,
)
from modelmora.settings import Settings
from modelmora.testing.fakes import FakeTime
from modelmora.web.problems import DoorCode
from modelmora.web.tracing import trace_id_of, traceparent_of
from modelmora.wire import encode_registry, new_request_id, time_of

MINUTE = 60_000


def record(
    key: bytes, value: bytes | None, offset: int = 0, partition: int = 0, timestamp: int = 0
) -> ConsumerRecord:
    return ConsumerRecord("t", partition, offset, timestamp, 1, key, value, None, 0, 0, ())


def test_every_code_has_statuses_that_agree() -> None:
    for code in (*Code, *DoorCode):
        answer = answer_of(code)
        assert answer.http >= HTTPStatus.BAD_REQUEST
        assert (answer.http == 500) == (answer.grpc is grpc.StatusCode.INTERNAL)
        # When what spent its retries may be asked again, only its node says.
        later = answer.http in (429, 503) and code is not Code.RETRIES_SPENT
        assert later == (answer.retry_after_ms is not None)
    assert not set(DoorCode) & {str(code) for code in Code}


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "00-" + "0" * 32 + "-" + "1" * 16 + "-00",
        "00-" + "1" * 32 + "-" + "0" * 16 + "-00",
        "01-" + "1" * 32 + "-" + "1" * 16 + "-00",
        "00-" + "1" * 32 + "-" + "1" * 16 + "-00\n",
    ],
)
def test_a_trace_is_made_where_none_is_valid(given: str | None) -> None:
    made = traceparent_of(given)
    assert made != given
    assert traceparent_of(made) == made
    assert trace_id_of(made) in made


async def test_the_first_end_of_an_id_is_kept() -> None:
    room = WaitingRoom(10)
    waiting, new = room.enter("a", "local")
    same, again = room.enter("a", "local")
    assert (same is waiting, new, again) == (True, True, False)
    loop = asyncio.get_running_loop()
    callers: list[asyncio.Future[End]] = [loop.create_future(), loop.create_future()]
    waiting.callers.extend(callers)
    first, second = Refusal(Code.BUSY, "first"), Refusal(Code.EXPIRED, "second")
    room.settle(waiting, first)
    room.settle(waiting, second)
    assert [caller.result() for caller in callers] == [first, first]
    assert room.get(b"a") is None
    assert not room.leave(waiting, callers[0])
    await room.empty()


def test_of_what_is_met_the_highest_run_holds_and_of_one_run_the_first() -> None:
    def outcome(run: int, version: str) -> InferenceResult:
        return InferenceResult("a", Status.FAILED, "m", version, Source("t", 0, 0), run=run)

    waiting = Waiting("a", "local")
    for run, version, timestamp, offset in (
        (1, "first", 5, 0),
        (2, "repeated", 9, 7),
        (2, "second", 9, 6),
        (2, "late", 10, 1),
        (1, "first again", 11, 2),
    ):
        waiting.meet(outcome(run, version), "", timestamp, offset)
    assert waiting.found == outcome(2, "second")


async def test_the_last_caller_to_leave_is_told() -> None:
    room = WaitingRoom(10)
    waiting, _ = room.enter("a", "local")
    loop = asyncio.get_running_loop()
    callers: list[asyncio.Future[End]] = [loop.create_future(), loop.create_future()]
    waiting.callers.extend(callers)
    assert not room.leave(waiting, callers[0])
    assert len(room) == 1
    assert room.leave(waiting, callers[1])
    assert len(room) == 0


async def test_a_full_waiting_room_is_busy() -> None:
    room = WaitingRoom(1)
    room.enter("a", "local")
    room.enter("a", "local")
    with pytest.raises(Refusal) as caught:
        room.enter("b", "local")
    assert (caught.value.code, caught.value.retry_after_ms) == (Code.BUSY, 1000), "nobody knows"


async def test_who_is_refused_is_told_when_a_place_will_be_free() -> None:
    time = FakeTime()
    room = WaitingRoom(3, time)
    for number in range(9):
        waiting, _ = room.enter(f"r{number}", "local")
        time.now += 2
        if number < 6:
            room.settle(waiting, Refusal(Code.CANCELLED, "gone"))
    for wait_ms in (6000, 12_000):
        with pytest.raises(Refusal) as caught:
            room.enter("late", "local")
        assert caught.value.retry_after_ms == wait_ms, "one behind the other"
    time.now += 600
    with pytest.raises(Refusal) as caught:
        room.enter("late", "local")
    assert caught.value.retry_after_ms == 60_000, "nobody leaves any more"
    room.settle(waiting, Refusal(Code.CANCELLED, "gone"))
    room.enter("late", "local")


def fact(
    name: str, version: str = "1", *, based_on: int | None = None, present: bool = True
) -> bytes:
    return encode_registry(
        RegistryRecord(
            RegistryKind.MODEL, name, version, "echo", "here", "me", present, based_on=based_on
        )
    )


async def test_the_directory_follows_the_registry() -> None:
    settings = Settings(bootstrap_servers="unused:1")
    directory = Directory(settings, Pulse(settings, []))
    directory.handle(record(b"MODEL:b@1", fact("b"), 0))
    directory.handle(record(b"MODEL:a@1", fact("a"), 1))
    assert [model.name for model in directory.models()] == ["a", "b"]
    assert directory.knows("a")
    assert directory.knows("a@1")
    assert not directory.knows("a@2")
    assert not directory.knows("")
    directory.handle(record(b"MODEL:a@1", fact("a", based_on=0, present=False), 2))
    assert directory.knows("a"), "a record based on another than the current is stale"
    directory.handle(record(b"MODEL:a@1", fact("a", based_on=1, present=False), 3))
    assert not directory.knows("a")
    directory.handle(record(b"MODEL:b@1", None, 4))
    directory.handle(record(b"MODEL:c@1", b"broken", 5))
    assert directory.models() == ()


def lease(node: str, *models: str) -> bytes:
    serves = dict.fromkeys(models, "echo")
    return encode_registry(
        RegistryRecord(RegistryKind.NODE, node, "", "", "", node, lease_ms=60_000, serves=serves)
    )


async def test_a_registered_model_that_no_node_has_is_known_and_says_so() -> None:
    settings = Settings(bootstrap_servers="unused:1")
    directory = Directory(settings, Pulse(settings, []))
    directory.handle(record(b"MODEL:a@1", fact("a"), 0))
    directory.handle(record(b"MODEL:b@1", fact("b", present=False), 1))
    assert directory.knows("a"), "while no node runs, requests wait for the next"
    assert not directory.health()
    directory.handle(record(b"NODE:n1@", lease("n1", "a@1"), 2))
    directory.handle(record(b"NODE:n2@", lease("n2", "b@1"), 3))
    assert [model.name for model in directory.models()] == ["a"]
    assert directory.knows("b"), "it is served until the node has heard that it is retired"
    directory.handle(record(b"NODE:n1@", None, 4))
    assert directory.knows("a@1"), "a node says why not"
    assert directory.health()["a@1"] == Health(State.FAILED, "no node that runs has its files")
    later = record(b"NODE:n3@", lease("n3", "c@1"), 5)
    later.timestamp += 60_001
    directory.handle(later)
    assert not directory.knows("b")


async def test_a_model_has_failed_where_no_node_that_runs_can_load_it() -> None:
    settings = Settings(bootstrap_servers="unused:1")
    directory = Directory(settings, Pulse(settings, []))
    directory.handle(record(b"MODEL:a@1", fact("a"), 0))
    torn = RegistryRecord(
        RegistryKind.NODE, "n1", "", "", "", "n1", lease_ms=60_000, failed={"a@1": "cut off"}
    )
    directory.handle(record(b"NODE:n1@", encode_registry(torn), 1))
    assert directory.health() == {"a@1": Health(State.FAILED, "cut off")}
    assert directory.knows("a"), "the node says why"
    serves, states = {"a@1": "echo"}, {"a@1": "loading"}
    again = encode_registry(replace(torn, name="n2", serves=serves, states=states))
    directory.handle(record(b"NODE:n2@", again, 2))
    health = directory.health()["a@1"]
    assert health == Health(State.LOADING, "cut off"), "tried again, and failed so far"
    well = replace(torn, name="n3", serves=serves, states={"a@1": "ready"}, failed={})
    directory.handle(record(b"NODE:n3@", encode_registry(well), 3))
    assert directory.health() == {"a@1": Health(State.READY)}
    assert [model.name for model in directory.models()] == ["a"]


async def test_who_renews_a_lease_with_the_same_word_has_nothing_listed_anew() -> None:
    settings = Settings(bootstrap_servers="unused:1")
    directory = Directory(settings, Pulse(settings, []))
    directory.handle(record(b"MODEL:a@1", fact("a"), 0))
    directory.handle(record(b"NODE:n1@", lease("n1", "a@1"), 1))
    listed, health = directory.models(), directory.health()
    again = record(b"NODE:n1@", lease("n1", "a@1"), 2)
    again.timestamp += 30_000
    directory.handle(again)
    assert directory.status()["n1"].told_ms == again.timestamp
    assert directory.models() is listed
    assert directory.health() is health
    directory.handle(record(b"NODE:n1@", lease("n1", "a@1", "b@1"), 3))
    assert directory.knows("b")


async def test_what_a_result_can_hold_is_known_here() -> None:
    settings = Settings(bootstrap_servers="unused:1")
    directory = Directory(settings, Pulse(settings, []))
    for offset, (version, most) in enumerate((("1", 640), ("2", 320), ("3", None))):
        told = RegistryRecord(RegistryKind.MODEL, "a", version, "t", "here", "me", max_inputs=most)
        directory.handle(record(f"MODEL:a@{version}".encode(), encode_registry(told), offset))
    assert directory.max_inputs("a") == 640, "the lowest, while nobody has said which"
    for offset, (version, most) in enumerate((("1", 640), ("2", 320), ("3", None)), 3):
        before = None if offset == 3 else offset - 1
        route = RegistryRecord(RegistryKind.ROUTE, "a", version, "", "", "me", based_on=before)
        directory.handle(record(b"ROUTE:a@", encode_registry(route), offset))
        assert directory.max_inputs("a") == most
    assert directory.max_inputs("a@2") == 320
    assert directory.max_inputs("a@3") is directory.max_inputs("b") is None


async def test_an_unknown_model_is_told_with_what_is_near() -> None:
    settings = Settings(bootstrap_servers="unused:1")
    directory = Directory(settings, Pulse(settings, []))
    for offset, version in enumerate(("1", "2")):
        key = b"MODEL:all-minilm@" + version.encode()
        directory.handle(record(key, fact("all-minilm", version), offset))
    assert "did you mean all-minilm?" in directory.unknown("all_mini")
    assert directory.unknown("nothing-like-it").endswith(
        "nothing-like-it is not served; see `modelmora list` or GET /models"
    )
    assert directory.unknown("all-minilm@3").endswith("all-minilm has 2 versions: 1, 2")
    told = directory.unknown("\x1b[31m" + "x" * 1000)
    assert told.isprintable()
    assert len(told) < 300
    assert "a model without a name" in directory.unknown("")


@pytest.mark.parametrize("nodes", [0, 1])
async def test_a_node_that_may_run_has_its_whole_lease_to_tell_so(
    nodes: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def at_once(*_: object) -> Mapping[object, int]:
        return defaultdict(int)

    monkeypatch.setattr(Tail, "start", at_once)
    monkeypatch.setattr(Tail, "caught_up", at_once)
    settings = Settings(bootstrap_servers="unused:1", data_dir=tmp_path)
    directory = Directory(settings, Pulse(settings, []))
    for offset in range(nodes):
        directory.handle(record(b"NODE:n1@", lease("n1", "a@1"), offset))
    await directory.start()
    assert bool(directory.absent_s()) is (nodes == 0)


def test_no_node_is_known_by_its_silence_alone() -> None:
    watch = NodeWatch(0.0)
    assert watch.absent_s(3.0) == 3.0
    watch.told(10.0, 4.0)
    assert watch.absent_s(14.0) == 0.0
    assert watch.absent_s(15.0) == 1.0
    watch.told(10.0, 16.0)
    watch.told(None, 17.0)
    assert watch.absent_s(19.0) == 2.0
    watch.told(None, 20.0)
    assert watch.absent_s(20.0) == 3.0


def test_silence_that_could_not_be_heard_counts_for_nothing() -> None:
    watch = NodeWatch(0.0)
    watch.told(10.0, 0.0)
    for now in range(1, 101):
        watch.look(False, float(now))  # the broker is gone
    assert watch.absent_s(110.0) == 0.0
    watch.look(True, 500.0)  # this process stood still
    assert watch.absent_s(510.0) == 0.0
    for now in range(501, 531):
        watch.look(True, float(now))
    assert watch.absent_s(530.0) == 20.0


def test_seen_is_sure_only_of_what_it_read() -> None:
    now = time_of(new_request_id()) or 0
    seen = Seen(2, lambda: now - 6 * MINUTE)
    fresh = new_request_id()
    assert not seen.surely_none(fresh, 0), "not tailed"
    seen.begin([0])
    assert seen.surely_none(fresh, 0)
    assert not seen.surely_none("no-time-in-it", 0)
    seen.note(record(fresh.encode(), b"", timestamp=now))
    assert not seen.surely_none(fresh, 0), "it ended"
    other = new_request_id()
    assert seen.surely_none(other, 0)
    seen.note(record(b"x", b"", timestamp=now))
    seen.note(record(b"y", b"", timestamp=now))
    assert not seen.surely_none(fresh, 0), "forgotten, and so is everything as old"
    assert not seen.surely_none(other, 0)


def test_seen_is_not_sure_of_ids_older_than_the_tail() -> None:
    now = time_of(new_request_id()) or 0
    seen = Seen(2, lambda: now - 4 * MINUTE)
    seen.begin([0])
    assert not seen.surely_none(new_request_id(), 0)
