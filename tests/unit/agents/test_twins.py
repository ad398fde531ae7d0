"""Requests of one id: which of them runs, and what the others are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from modelmora.agents.partitions.intake import Intake
from modelmora.agents.sameness import is_new, run_of
from modelmora.agents.stored import Outcome
from modelmora.agents.twins import Twins
from modelmora.errors import Code, RequestError
from modelmora.kafka.reading.lookback import LookBackFailed
from modelmora.kafka.topics import read_topics
from modelmora.messages import (
    ErrorInfo,
    InferenceResult,
    ResultHead,
    Source,
    Status,
    outcome_status,
)
from modelmora.serving import Incoming
from modelmora.settings import Limits, Settings
from modelmora.testing.fakes import UNIX_MS, FakeRecord, incoming
from modelmora.wire import NEAR_MS, SKEW_MS
from modelmora.wire.ids import id_of_name

TOPIC = "ns.requests.normal"
NOW = UNIX_MS
ID = id_of_name("r", NOW)


def outcome(
    code: Code | None = None,
    content: str = "same",
    run: int = 1,
    written_ms: int = NOW,
    retry_after_ms: int | None = None,
) -> Outcome:
    status = outcome_status(code) if code else Status.COMPLETED
    error = ErrorInfo(code, "so it is", retry_after_ms) if code else None
    source = Source(TOPIC, 0, 0)
    result = InferenceResult(
        ID, status, "echo", "1", source, error=error, outputs=("out",), run=run
    )
    return Outcome(result, content, written_ms)


@pytest.mark.parametrize(
    ("made_ms", "known_ms", "new"),
    [
        (NOW, 0, True),
        (NOW - NEAR_MS, 0, True),
        (NOW - NEAR_MS - 1, 0, False),
        (NOW + SKEW_MS, 0, True),
        (NOW + SKEW_MS + 1, NOW, True),
        (None, NOW, True),
        (NOW, NOW - SKEW_MS, True),
        (NOW, NOW - SKEW_MS + 1, False),
        (0, 0, False),
    ],
)
def test_an_id_is_new_where_its_time_says_so(made_ms: int | None, known_ms: int, new: bool) -> None:
    assert is_new(made_ms, NOW, known_ms) == new


@pytest.mark.parametrize(
    ("stored", "asked_ms", "cancelled", "run"),
    [
        (None, NOW, False, 1),
        (outcome(), NOW + 1, False, None),
        (outcome(run=3), NOW + 1, False, None),
        (outcome(Code.INFERENCE_FAILED), NOW + 1, False, None),
        (outcome(Code.INVALID_INPUT), NOW + 1, False, None),
        (outcome(Code.STORE_UNAVAILABLE), NOW + 1, False, None),
        (outcome(Code.STORE_UNAVAILABLE, retry_after_ms=1000), NOW + 1, False, 2),
        (outcome(Code.STORE_UNAVAILABLE, retry_after_ms=1000), NOW, False, None),
        (outcome(Code.RETRIES_SPENT), NOW + 1, False, None),
        (outcome(Code.RETRIES_SPENT, run=2, retry_after_ms=0), NOW + 1, False, 3),
        (outcome(Code.INFERENCE_FAILED, retry_after_ms=1000), NOW + 1, False, None),
        (outcome(Code.EXPIRED), NOW + 1, False, 2),
        (outcome(Code.EXPIRED), NOW, False, None),
        (outcome(Code.BUSY, run=4), NOW + 1, False, 5),
        (outcome(Code.CANCELLED), NOW - 1, False, 2),
        (outcome(Code.CANCELLED), NOW - 1, True, None),
        (outcome(Code.CANCELLED), NOW + 1, False, 2),
        (outcome(Code.CANCELLED), NOW + 1, True, 2),
    ],
)
def test_what_stands_is_told_and_all_else_is_run_anew(
    stored: Outcome | None, asked_ms: int, cancelled: bool, run: int | None
) -> None:
    assert run_of(stored, "same", asked_ms, cancelled=cancelled) == run


@pytest.mark.parametrize("code", [None, Code.CANCELLED, Code.INFERENCE_FAILED])
def test_an_id_of_something_else_is_refused(code: Code | None) -> None:
    with pytest.raises(RequestError, match="another request") as caught:
        run_of(outcome(code), "other", NOW + 1, cancelled=False)
    assert caught.value.code is Code.ID_REUSED


@dataclass
class House:
    """Twins with everything around them made up; the test says what `results` holds."""

    now_ms: float = NOW - 60_000
    stored: dict[str, Outcome] = field(default_factory=dict)
    sought: list[tuple[str, int]] = field(default_factory=list)
    faults: int = 0
    ran: list[Incoming] = field(default_factory=list)
    refused: list[tuple[int, Code]] = field(default_factory=list)
    told: list[tuple[int, ResultHead, bytes]] = field(default_factory=list)
    cancelled: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        settings = Settings(namespace="ns")
        self.intake = Intake(Limits(), read_topics(settings))
        for partition in range(2):
            self.intake.assign((TOPIC, partition), 0, 0)
        self.twins = Twins(self.intake, self, lambda: self.now_ms)
        self.twins.use(self.ran.append, self, self)
        self.twins.look()

    async def find(self, request_id: str, since_ms: int) -> Outcome | None:
        self.sought.append((request_id, since_ms))
        if self.faults:
            self.faults -= 1
            raise LookBackFailed("planted")
        await asyncio.sleep(0)
        return self.stored.get(request_id)

    def is_cancelled(self, request: Incoming) -> bool:
        return request.record.offset in self.cancelled

    def refuse(self, request: Incoming, error: RequestError) -> None:
        self.refused.append((request.record.offset, error.code))
        self.twins.done(request.record)

    def arm(self) -> None:
        """Of no interest."""

    def repeated(self, request: Incoming, head: ResultHead, outputs: bytes) -> None:
        self.told.append((request.record.offset, head, outputs))
        self.twins.done(request.record)

    def ask(
        self, offset: int, request_id: str = ID, content: str = "same", **fields: int
    ) -> Incoming:
        record = FakeRecord(TOPIC, fields.get("partition", 0), offset)
        record.timestamp = fields.get("at", NOW)
        assert self.intake.begin(record)
        request = incoming(request_id, record=record)
        request.content, request.run = content, fields.get("run", 1)
        request.asked_since = fields.get("asked_since")
        if not self.twins.takes(request):
            self.ran.append(request)
        return request

    def end(self, request: Incoming, code: Code | None = None, run: int = 1) -> None:
        self.stored[request.head.request_id] = outcome(code, request.content, run, NOW + 5)
        self.twins.done(request.record)

    @property
    def offsets(self) -> list[int]:
        return [request.record.offset for request in self.ran]

    async def rest(self) -> None:
        while self.twins._tasks:
            await asyncio.gather(*self.twins._tasks)

    @property
    def is_empty(self) -> bool:
        twins = self.twins
        return not (twins._open or twins._firsts or twins._told or self.intake.open_requests)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = House()
    yield house
    await house.twins.stop()


async def test_the_second_is_told_what_the_first_ended_as(house: House) -> None:
    first, _ = house.ask(0), house.ask(1)
    await house.rest()
    assert (house.offsets, house.told, house.sought) == ([0], [], [])
    house.end(first)
    await house.rest()
    ((offset, head, _),) = house.told
    assert (offset, head.run, head.source) == (1, 1, Source(TOPIC, 0, 1))
    assert house.offsets == [0]
    assert house.is_empty


@pytest.mark.no_cover
async def test_ten_thousand_of_one_id_run_once(house: House) -> None:
    first, *_ = (house.ask(offset, partition=offset % 2) for offset in range(10_000))
    house.end(first)
    await house.rest()
    assert house.offsets == [0]
    assert len(house.told) == 9_999
    assert len(house.sought) == 1, "one look serves all"
    assert house.is_empty


async def test_other_content_is_refused_after_the_first_has_ended(house: House) -> None:
    first, _ = house.ask(0), house.ask(1, content="other")
    await house.rest()
    assert house.refused == [], "its refusal would come before the outcome"
    house.end(first)
    await house.rest()
    assert house.refused == [(1, Code.ID_REUSED)]
    assert house.is_empty


async def test_an_old_id_is_looked_for_and_the_others_go_on(house: House) -> None:
    old = id_of_name("old", NOW - NEAR_MS - 1)
    house.stored[old] = outcome()
    house.ask(0, old)
    house.ask(1)
    assert house.offsets == [1]
    await house.rest()
    assert house.sought == [(old, NOW - NEAR_MS - 1 - SKEW_MS)]
    assert [offset for offset, _, _ in house.told] == [0]


async def test_what_is_nowhere_is_run(house: House) -> None:
    old = id_of_name("old", NOW - 7_200_000)
    request = house.ask(0, old)
    house.ask(1, old)
    await house.rest()
    assert house.offsets == [0]
    house.end(request)
    await house.rest()
    assert [offset for offset, _, _ in house.told] == [1]


async def test_an_id_that_was_heard_is_looked_for_again(house: House) -> None:
    house.end(house.ask(0, "no-time-in-it"))
    house.ask(1, "no-time-in-it")
    await house.rest()
    assert [offset for offset, _, _ in house.told] == [1]
    assert house.is_empty


async def test_what_was_asked_before_we_came_is_looked_for(house: House) -> None:
    house.now_ms = NOW - 1
    house.intake.assign((TOPIC, 0), 1, 5)
    house.twins.look()
    record = FakeRecord(TOPIC, 0, 5, 1)
    house.intake.begin(record)
    request = incoming(ID, record=record)
    assert house.twins.takes(request)
    await house.rest()
    assert house.ran == [request]


async def test_a_backlog_is_known_from_its_first_record_on(house: House) -> None:
    house.now_ms = NOW + 3_600_000
    house.intake.assign((TOPIC, 0), 1, 5)
    house.twins.look()
    asked = [(5, NOW - 10_000), (6, NOW)]
    for offset, timestamp in asked:
        record = FakeRecord(TOPIC, 0, offset, 1, timestamp)
        house.intake.begin(record)
        assert not house.twins.takes(incoming(id_of_name(f"{offset}", NOW), record=record))


async def test_what_has_its_outcome_already_may_have_twins(house: House) -> None:
    house.twins.passed(FakeRecord(TOPIC, 0, 0))
    house.ask(1)
    assert house.ran == []
    await house.rest()
    assert house.offsets == [1]


async def test_a_sender_that_has_looked_saves_the_look(house: House) -> None:
    house.ask(0, "key-1", asked_since=NOW - 100)
    house.ask(1, id_of_name("old", 0), asked_since=NOW - 100)
    assert house.offsets == [0, 1]
    house.ask(2, "key-2", asked_since=NOW - NEAR_MS - 1)
    house.ask(3, asked_since=NOW - NEAR_MS - 1)
    assert house.offsets == [0, 1], "it has found something, perhaps of another partition"


async def test_a_replay_is_no_twin(house: House) -> None:
    house.ask(0)
    house.ask(1, run=2)
    assert house.offsets == [0, 1]


@pytest.mark.parametrize("cancelled", [True, False])
async def test_only_what_was_asked_before_a_cancel_shares_its_end(
    house: House, cancelled: bool
) -> None:
    first, second, _ = house.ask(0), house.ask(1), house.ask(2)
    house.cancelled = {0, 1, 2} if cancelled else {0}
    house.end(first, Code.CANCELLED)
    await house.rest()
    if cancelled:
        assert [offset for offset, _, _ in house.told] == [1, 2]
        return
    assert house.offsets == [0, 1]
    assert second.run == 2
    house.end(second, run=2)
    await house.rest()
    assert [(offset, head.run) for offset, head, _ in house.told] == [(2, 2)]
    assert house.is_empty


async def test_one_of_those_left_runs_where_the_first_was_taken_away(house: House) -> None:
    first, second, _ = house.ask(0), house.ask(1, partition=1), house.ask(1)
    dropped = house.twins.drop({(TOPIC, 0)})
    assert [record.offset for record in dropped] == [1]
    house.intake.revoke([(TOPIC, 0)])
    house.twins.lost([first.record, *dropped])
    await house.rest()
    assert house.ran == [first, second]
    house.end(second)
    assert house.is_empty


async def test_what_left_memory_is_new_again(house: House) -> None:
    first = house.ask(0)
    house.twins.lost([first.record])
    house.intake.shed([first.record])
    house.intake.rewind((TOPIC, 0))
    house.intake.follows((TOPIC, 0), 0, 0)
    house.ask(0)
    assert house.offsets == [0, 0]


async def test_a_broker_that_does_not_tell_holds_nobody_up_for_ever(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelmora.agents.twins.RETRY_S", (0.0, 0.0))
    house.faults = 99
    house.ask(0, id_of_name("old", 0))
    await house.rest()
    assert (house.offsets, len(house.sought)) == ([0], 3)


async def test_an_outcome_that_cannot_be_read_yet_is_waited_for(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelmora.agents.twins.RETRY_S", (0.0, 0.0))
    first, _ = house.ask(0), house.ask(1)
    house.twins.done(first.record)
    await asyncio.sleep(0)
    assert len(house.sought) == 1
    house.stored[ID] = outcome()
    await house.rest()
    assert [offset for offset, _, _ in house.told] == [1]
    assert house.offsets == [0]


async def test_many_ids_are_forgotten_the_oldest_first(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelmora.agents.twins.MOST_HEARD", 2)
    for number in range(4):
        house.end(house.ask(number, f"v{number}"))
    house.ask(4, "v3")
    house.ask(5, "v0")
    assert house.offsets == [0, 1, 2, 3, 5], "without a time nothing is known of it"
    house.ask(6)
    assert house.offsets[-1] == 5, "its time says that it may be one of those"
    await house.rest()
    assert house.offsets[-1] == 6
