"""Outcomes: which records each code leaves, in which order, and when the offset is done."""

from __future__ import annotations

import pytest

from modelmora.agents.deadletters import leaves_letter
from modelmora.agents.lifecycle import Lifecycle
from modelmora.agents.results import Results
from modelmora.errors import Code, RequestError, Undecodable
from modelmora.kafka.writing.publisher import Answer, Ends, Refused, TooLarge
from modelmora.messages import (
    ErrorInfo,
    ProgressEvent,
    ProgressStage,
    Source,
    Status,
    Timings,
    outcome_status,
)
from modelmora.scheduling import Position
from modelmora.serving import BrokerClock, HandedOn, Incoming, Record
from modelmora.serving.request import place_read
from modelmora.testing.fakes import UNIX_MS, FakeRecord, FakeSender, FakeTime, incoming
from modelmora.wire import decode_progress, decode_result, encode_outputs
from modelmora.workers import Chunk

MODEL = ("echo", "1")
TIMES = Timings(1.0, 2.0, 3.0, 6.0)
RESULTS, LETTERS = "ns.results", "ns.dead-letters"
RESULT_ONLY = {
    Code.BUSY,
    Code.STARTING,
    Code.STOPPING,
    Code.MODEL_UNAVAILABLE,
    Code.CANNOT_BE_SERVED,
    Code.FORBIDDEN,
    Code.RATE_LIMITED,
    Code.EXPIRED,
    Code.CANCELLED,
    Code.STOPPED,
    Code.ID_REUSED,
}
TOLD = {
    Code.UNDECODABLE,
    Code.UNKNOWN_SCHEMA,
    Code.TRAILING_BYTES,
    Code.EMPTY_VALUE,
    Code.NULL_VALUE,
    Code.TOO_LARGE,
    Code.UNKNOWN_MODEL,
    Code.UNKNOWN_PARAMETER,
    Code.INVALID_INPUT,
}


class Desk:
    """The results of one node, and the broker behind them."""

    def __init__(self) -> None:
        self.sender = FakeSender()
        self.teller = FakeSender()
        self.clock = BrokerClock(FakeTime())
        self.ended: list[int] = []
        self.gone: set[int] = set()
        lifecycle = Lifecycle(self.sender, "n1", "ns")
        self.results = Results(self.sender, self.teller, self, self.clock, lifecycle, "ns")

    def owes(self, record: Record) -> bool:
        return record.offset not in self.gone

    def done(self, record: Record) -> None:
        self.ended.append(record.offset)

    handed_on = done

    def complete(self, request: Incoming) -> None:
        self.results.completed(request, MODEL, encode_outputs(["a"]), {"ms": 5.0}, TIMES, 1)

    def fail(
        self, request: Incoming, code: Code, exit_code: int | None = None, later: int | None = None
    ) -> None:
        error = RequestError(code, "why", retry_after_ms=later)
        self.results.failed(request, MODEL, error, TIMES, 2, exit_code)

    def undecodable(self, record: Record, error: RequestError) -> None:
        self.results.undecodable(record, error, "local")

    def topics(self) -> list[str]:
        return [sent.topic for sent in self.sender.sent]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_an_outcome_is_done_when_the_broker_has_it(desk: Desk) -> None:
    request = incoming("r1", record=FakeRecord("ns.requests.low", 3, 42))
    request.traceparent = "00-1-2-01"
    desk.complete(request)
    (sent,) = desk.sender.sent
    assert (sent.topic, sent.key) == (RESULTS, b"r1")
    assert sent.headers == (("traceparent", b"00-1-2-01"),)
    result = decode_result(sent.value)
    assert (result.request_id, result.status, result.error) == ("r1", Status.COMPLETED, None)
    assert (result.model, result.version, result.attempt) == ("echo", "1", 1)
    assert (result.settings, result.timings) == ({"ms": 5.0}, TIMES)
    assert result.source == Source("ns.requests.low", 3, 42)
    assert result.outputs == ("a",)
    assert desk.ended == []
    desk.sender.acknowledge()
    assert desk.ended == [42]
    assert desk.clock.now_ms() == UNIX_MS


@pytest.mark.parametrize(
    ("asked", "written"),
    [
        (b"7", 7),
        (b"0", 0),
        (None, None),
        (b"", None),
        (b"-1", None),
        (b"seven", None),
        ("٣".encode(), None),
        (b"9" * 40, None),
    ],
)
async def test_outcome_and_progress_go_where_the_sender_reads(
    desk: Desk, asked: bytes | None, written: int | None
) -> None:
    record = FakeRecord(headers=[("other", b"1"), ("modelmora-reply-partition", asked)])
    request = incoming(record=record)
    desk.results.started(request, MODEL)
    desk.complete(request)
    desk.undecodable(record, RequestError(Code.TOO_LARGE, "why", request_id="r2"))
    desk.sender.acknowledge()
    desk.sender.acknowledge()
    sent = [*desk.teller.sent, *desk.sender.sent]
    assert [(one.topic, one.partition) for one in sent] == [
        ("ns.progress", written),
        (RESULTS, written),
        (LETTERS, None),
        (RESULTS, written),
    ]


def test_dead_letter_then_result_then_done(desk: Desk) -> None:
    record = FakeRecord("ns.requests.low", 3, 42, key=b"k", value=b"value")
    desk.fail(incoming(record=record), Code.WORKER_CRASH, -9, 7)
    assert desk.topics() == [LETTERS]
    (letter,) = desk.sender.sent
    assert (letter.key, letter.value) == (b"k", b"value")
    assert dict(letter.headers)["modelmora-worker-exit-code"] == b"-9"
    desk.sender.acknowledge()
    assert desk.topics() == [LETTERS, RESULTS]
    ends = Ends(("ns.requests.low", 3), 0, 42)
    assert [sent.ends for sent in desk.sender.sent] == [None, ends]
    assert desk.ended == []
    sent = desk.sender.acknowledge()
    assert desk.ended == [42]
    assert dict(sent.headers) == {"modelmora-error-code": b"worker_crash"}
    result = decode_result(sent.value)
    assert result.error is not None
    assert (result.status, result.error.code, result.error.retry_after_ms, result.attempt) == (
        Status.FAILED,
        Code.WORKER_CRASH,
        7,
        2,
    )


@pytest.mark.parametrize("code", sorted(Code))
def test_what_each_code_leaves(desk: Desk, code: Code) -> None:
    desk.fail(incoming(), code)
    desk.sender.acknowledge_all()
    assert desk.topics() == ([RESULTS] if code in RESULT_ONLY else [LETTERS, RESULTS])
    assert decode_result(desk.sender.sent[-1].value).status is outcome_status(code)
    assert desk.ended == [0]


def test_a_record_without_an_id_leaves_a_dead_letter_alone(desk: Desk) -> None:
    desk.undecodable(FakeRecord(offset=9), Undecodable(Code.EMPTY_VALUE, "empty"))
    assert desk.ended == []
    assert desk.sender.sent[0].ends == Ends(("modelmora.requests.normal", 0), 0, 9)
    desk.sender.acknowledge_all()
    assert desk.topics() == [LETTERS]
    assert desk.ended == [9]


def test_a_broken_record_with_an_id_fails_too(desk: Desk) -> None:
    error = Undecodable(Code.TRAILING_BYTES, "4 bytes too many", request_id="r7")
    desk.undecodable(FakeRecord(offset=9), error)
    desk.sender.acknowledge_all()
    assert desk.topics() == [LETTERS, RESULTS]
    result = decode_result(desk.sender.sent[-1].value)
    assert (result.request_id, result.status) == ("r7", Status.FAILED)
    assert desk.ended == [9]


def test_a_result_that_no_topic_takes_fails_with_a_reason(desk: Desk) -> None:
    desk.complete(incoming("r1"))
    desk.sender.refuse()
    assert desk.ended == []
    desk.sender.acknowledge_all()
    assert desk.topics() == [RESULTS, LETTERS, RESULTS]
    result = decode_result(desk.sender.sent[-1].value)
    assert result.error is not None
    assert (result.request_id, result.error.code) == ("r1", Code.TOO_LARGE)
    assert desk.ended == [0]


def test_a_dead_letter_that_no_topic_takes_is_shortened(desk: Desk) -> None:
    record = FakeRecord(offset=5, value=b"x" * 100_000)
    desk.undecodable(record, Undecodable(Code.TOO_LARGE, "too large"))
    desk.sender.refuse()
    short = desk.sender.sent[-1]
    assert short.topic == LETTERS
    assert short.value == b"x" * 65_536
    assert "modelmora-sha256" in dict(short.headers)
    assert desk.ended == []
    desk.sender.acknowledge()
    assert desk.ended == [5]


def test_even_the_shortened_one_may_be_refused(desk: Desk) -> None:
    desk.undecodable(FakeRecord(offset=5), Undecodable(Code.TOO_LARGE, "too large"))
    desk.sender.refuse()
    desk.sender.refuse()
    assert desk.ended == [5]


@pytest.mark.parametrize("code", [Code.EXPIRED, Code.WORKER_CRASH])
def test_another_nodes_request_gets_nothing_here(desk: Desk, code: Code) -> None:
    desk.gone.add(0)
    desk.complete(incoming())
    desk.fail(incoming(), code)
    desk.undecodable(FakeRecord(), Undecodable(Code.EMPTY_VALUE, "empty"))
    assert desk.sender.sent == []


def test_a_request_that_goes_between_its_two_records_gets_no_result_here(desk: Desk) -> None:
    desk.fail(incoming(), Code.WORKER_CRASH)
    desk.gone.add(0)
    desk.sender.acknowledge()
    assert desk.topics() == [LETTERS]
    assert desk.ended == []


@pytest.mark.parametrize("code", [Code.EXPIRED, Code.WORKER_CRASH])
def test_an_outcome_is_wanted_as_long_as_it_is_owed(desk: Desk, code: Code) -> None:
    desk.fail(incoming(record=FakeRecord(offset=7)), code)
    (sent,) = desk.sender.sent
    assert sent.wanted
    assert sent.wanted()
    desk.gone.add(7)
    assert not sent.wanted()
    desk.sender.drop()
    assert desk.sender.sent == [sent]
    assert desk.ended == []


def test_a_shortened_dead_letter_is_dropped_like_a_whole_one(desk: Desk) -> None:
    desk.undecodable(FakeRecord(offset=5), Undecodable(Code.TOO_LARGE, "too large"))
    desk.sender.refuse()
    short = desk.sender.drop()
    assert short.wanted
    assert desk.ended == []


async def test_a_chunk_is_told_with_its_attempt_and_number(desk: Desk) -> None:
    desk.results.progressed(incoming("r1"), MODEL, Chunk(0, 7, "more €"), 2)
    desk.results.progressed(incoming("r1"), MODEL, Chunk(0, 8, "", 3, 20), 2)
    text, step = (decode_progress(sent.value) for sent in desk.teller.sent)
    assert text == ProgressEvent(
        "r1", ProgressStage.CHUNK, "echo@1", chunk="more €".encode(), attempt=2, sequence=7
    )
    assert step == ProgressEvent(
        "r1", ProgressStage.CHUNK, "echo@1", attempt=2, sequence=8, step=3, steps=20
    )
    assert desk.sender.sent == []


def test_progress_is_told_by_a_sender_of_its_own(desk: Desk) -> None:
    desk.results.started(incoming("r1"), MODEL)
    desk.results.accepted(incoming("r1"), MODEL, Position(3, 0.25))
    started, accepted = desk.teller.sent
    assert {(sent.topic, sent.key) for sent in desk.teller.sent} == {("ns.progress", b"r1")}
    assert desk.sender.sent == []
    told = decode_progress(accepted.value)
    assert (told.stage, told.model, told.position, told.estimate_ms) == (
        ProgressStage.ACCEPTED,
        "echo@1",
        3,
        250.0,
    )
    assert decode_progress(started.value).stage is ProgressStage.STARTED
    desk.sender.acknowledge_all()
    assert desk.ended == []


def test_a_request_for_no_model_says_which_was_asked_for(desk: Desk) -> None:
    error = RequestError(Code.UNKNOWN_MODEL, "not served")
    desk.results.failed(incoming(model="x" * 300), ("", ""), error, TIMES, 1)
    desk.sender.acknowledge_all()
    assert decode_result(desk.sender.sent[-1].value).model == "x" * 96


def handed(desk: Desk) -> Incoming:
    headers = (("a", None), ("modelmora-handed-on", b"forged"), ("b", b"2"))
    record = FakeRecord("ns.requests.low", 3, 42, key=b"k", value=b"whole", headers=headers)
    request = incoming("r1", record=record)
    unknown = RequestError(Code.UNKNOWN_MODEL, "not served")
    desk.results.hand_on(
        request,
        ("ns.requests.low", 5),
        request.to_hand_on(hops=1),
        lambda: desk.results.failed(request, ("", ""), unknown, TIMES, 1),
    )
    return request


def test_what_is_handed_on_is_the_record_itself_and_done_once_it_lies_there(desk: Desk) -> None:
    handed(desk)
    (sent,) = desk.sender.sent
    assert (sent.topic, sent.partition, sent.key) == ("ns.requests.low", 5, b"k")
    assert (sent.value, sent.as_is) == (b"whole", True)
    place = ("modelmora-handed-on", f"1 3 42 {UNIX_MS} ns.requests.low 0".encode())
    read = ("modelmora-read-at", b"3 42 ns.requests.low")
    assert sent.headers == (("a", None), ("b", b"2"), place, read)
    assert sent.ends == Ends(("ns.requests.low", 3), 0, 42)
    assert desk.ended == []
    desk.sender.acknowledge()
    assert desk.ended == [42]


def test_what_is_not_written_is_not_handed_on(desk: Desk) -> None:
    handed(desk)
    desk.sender.drop()
    assert desk.ended == []


@pytest.mark.parametrize("answer", [TooLarge(), Refused("no such topic")])
def test_what_is_not_taken_where_it_is_handed_to_is_refused(desk: Desk, answer: Answer) -> None:
    handed(desk)
    desk.sender.waiting.pop().done(answer)
    desk.sender.acknowledge_all()
    assert desk.topics() == ["ns.requests.low", LETTERS, RESULTS]
    result = decode_result(desk.sender.sent[-1].value)
    assert result.error is not None
    assert (result.status, result.error.code) == (Status.REFUSED, Code.UNKNOWN_MODEL)
    assert desk.ended == [42]


def test_an_outcome_of_what_was_handed_on_says_both_places(desk: Desk) -> None:
    request = incoming("r1", record=FakeRecord("ns.requests.low", 3, 42))
    request.handed_on = HandedOn(1, 0, 7, UNIX_MS, "ns.requests.low")
    desk.fail(request, Code.WORKER_CRASH)
    desk.sender.acknowledge_all()
    letter, sent = desk.sender.sent
    context = dict(letter.headers)
    assert context["__connect.errors.partition"] == b"0"
    assert context["__connect.errors.offset"] == b"7"
    assert decode_result(sent.value).source == Source("ns.requests.low", 0, 7)
    assert place_read(sent.headers) == Source("ns.requests.low", 3, 42)
    assert desk.ended == [42]


def test_every_outcome_says_which_run_it_is_of(desk: Desk) -> None:
    record = FakeRecord(value=b"x" * 100, headers=[("modelmora-run", b"2")])
    request = incoming("r1", record=record)
    request.run = 2
    desk.complete(request)
    desk.fail(request, Code.WORKER_CRASH)
    desk.undecodable(record, RequestError(Code.UNDECODABLE, "why", request_id="r2"))
    desk.sender.acknowledge_all()
    results = [decode_result(each.value) for each in desk.sender.sent if each.topic == RESULTS]
    assert [result.run for result in results] == [2, 2, 2]


@pytest.mark.parametrize("code", Code)
def test_what_a_gateways_caller_was_told_of_its_content_leaves_no_letter(code: Code) -> None:
    """A failure of ours leaves one; so does what no caller waits for, or has no other outcome."""
    gateway, replay = ("modelmora-gateway", b"g1"), ("modelmora-run", b"2")
    for headers, told in (([gateway], TOLD), ([], set()), ([gateway, replay], set())):
        record = FakeRecord(headers=headers)
        error = ErrorInfo(code, "why")
        assert leaves_letter(record, error) is (code not in {*RESULT_ONLY, *told})
        again = {*RESULT_ONLY, *told, Code.STORE_UNAVAILABLE, Code.RETRIES_SPENT}
        error = ErrorInfo(code, "why", retry_after_ms=0)
        assert leaves_letter(record, error) is (code not in again)
        desk = Desk()
        desk.fail(incoming("r1", record=record), code)
        desk.undecodable(record, RequestError(code, "why", request_id="r1"))
        first = RESULTS if code in {*RESULT_ONLY, *told} else LETTERS
        assert desk.topics() == [first, first]
    desk = Desk()
    desk.undecodable(FakeRecord(headers=[gateway]), RequestError(code, "why"))
    assert desk.topics() == [LETTERS]
