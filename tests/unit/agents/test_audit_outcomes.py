"""Outcomes and clock at their edges: ids and headers of any size, and whose time is believed."""

from __future__ import annotations

import pytest

from modelmora.agents.lifecycle import Lifecycle
from modelmora.agents.results import Results
from modelmora.errors import Code, RequestError
from modelmora.kafka.writing.publisher import TooLarge, Written
from modelmora.messages import EventKind, Status, Timings
from modelmora.serving import BrokerClock, Record
from modelmora.testing.fakes import UNIX_MS, FakeRecord, FakeSender, FakeTime, incoming
from modelmora.wire import decode_result, encode_outputs

LETTERS, RESULTS = "ns.dead-letters", "ns.results"
TIMES = Timings(1.0, 0.0, 1.0, 2.0)


class Desk:
    """The results of one node, and the broker behind them."""

    def __init__(self) -> None:
        self.sender = FakeSender()
        self.done_offsets: list[int] = []
        clock = BrokerClock(FakeTime())
        self.results = Results(
            self.sender, FakeSender(), self, clock, Lifecycle(FakeSender(), "n1", "ns"), "ns"
        )

    def owes(self, record: Record) -> bool:
        return record.offset not in self.done_offsets

    def done(self, record: Record) -> None:
        self.done_offsets.append(record.offset)

    handed_on = done

    def answer(self, answer: Written | TooLarge, number: int = -1) -> None:
        self.sender.sent[number].done(answer)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_large_outputs_do_not_cost_a_long_id_its_outcome(desk: Desk) -> None:
    long_id = "i" * 300
    outputs = encode_outputs(["a"])
    desk.results.completed(incoming(long_id), ("echo", "1"), outputs, {}, TIMES, 1)
    desk.answer(TooLarge())
    desk.answer(Written(0, 0, UNIX_MS))
    assert [sent.topic for sent in desk.sender.sent] == [RESULTS, LETTERS, RESULTS]
    assert decode_result(desk.sender.sent[-1].value).request_id == long_id


def test_an_id_that_no_topic_takes_is_cut_without_a_second_dead_letter(desk: Desk) -> None:
    error = RequestError(Code.TOO_LARGE, "too large", request_id="i" * 3_000_000)
    desk.results.undecodable(FakeRecord(), error, "local")
    desk.answer(Written(0, 0, UNIX_MS))
    desk.answer(TooLarge())
    assert [sent.topic for sent in desk.sender.sent] == [LETTERS, RESULTS, RESULTS]
    result = decode_result(desk.sender.sent[-1].value)
    assert (result.request_id, result.status) == ("i" * 256, Status.FAILED)
    assert result.error is not None
    assert result.error.code is Code.TOO_LARGE
    desk.answer(Written(0, 0, UNIX_MS))
    assert desk.done_offsets == [0]


def test_headers_that_only_look_like_ours_are_not_kept_in_a_shortened_letter(desk: Desk) -> None:
    record = FakeRecord(headers=[("modelmora-x", b"x" * 3_000_000)])
    desk.results.undecodable(record, RequestError(Code.UNDECODABLE, "no request"), "local")
    desk.answer(TooLarge())
    names = [name for name, _ in desk.sender.sent[-1].headers]
    assert "modelmora-error-code" in names
    assert "modelmora-x" not in names


def test_an_acknowledged_event_tells_the_brokers_time() -> None:
    sender, clock = FakeSender(), BrokerClock(FakeTime())
    Lifecycle(sender, "n1", "ns", clock.acknowledged).event(EventKind.NODE_JOINED)
    sender.sent[0].done(Written(0, 0, UNIX_MS))
    assert clock.now_ms() == UNIX_MS


def test_an_event_that_no_topic_takes_tells_nothing() -> None:
    sender, clock = FakeSender(), BrokerClock(FakeTime())
    Lifecycle(sender, "n1", "ns", clock.acknowledged).event(EventKind.NODE_JOINED)
    sender.sent[0].done(TooLarge())
    assert clock.now_ms() == float("-inf")
