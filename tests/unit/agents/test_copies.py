"""Replies beside the outcome: to whom, with what, and that nothing is lost where there is none."""

from __future__ import annotations

import json

import pytest
from structlog.testing import capture_logs

from modelmora.agents import copies
from modelmora.agents.copies import Copies, Why
from modelmora.agents.results import Results
from modelmora.errors import Code
from modelmora.kafka.writing.publisher import Dropped, Refused, TooLarge
from modelmora.kafka.writing.publisher import Record as Outgoing
from modelmora.testing.fakes import FakeRecord, incoming
from modelmora.wire import decode_result
from tests.unit.agents.test_results import LETTERS, RESULTS, Desk

JSON = "ns.results.json"
ID = bytes(range(16))
UNAVAILABLE = Refused("Unknown topic")


def asked(
    topic: bytes | None = b"app.replies",
    place: bytes | None = None,
    value: bytes = b"",
    correlation: bytes | None = ID,
) -> FakeRecord:
    headers = [
        ("kafka_replyTopic", topic),
        ("kafka_replyPartition", place),
        ("kafka_correlationId", correlation),
    ]
    return FakeRecord(offset=8, value=value, headers=[each for each in headers if each[1]])


class ReplyDesk(Desk):
    """A node that replies on the topics of one application."""

    def __init__(self) -> None:
        super().__init__()
        self.lost: list[Why] = []
        self.now = 0.0
        made = Copies("ns", ("app.*", "ns.*", "one"), self.lost.append, lambda: self.now)
        lifecycle = self.results._lifecycle
        self.results = Results(self.sender, self.teller, self, self.clock, lifecycle, "ns", made)

    def outcome(self, record: FakeRecord) -> list[str]:
        """The topics of one outcome, all of which the broker takes."""
        before = len(self.sender.sent)
        self.complete(incoming("r1", record=record))
        self.sender.acknowledge_all()
        return self.topics()[before:]


@pytest.fixture
def desk() -> ReplyDesk:
    return ReplyDesk()


@pytest.mark.parametrize(("place", "written"), [(None, None), (b"\0\0\1\2", 258)])
def test_the_same_outcome_goes_to_the_reply_topic_first(
    desk: ReplyDesk, place: bytes | None, written: int | None
) -> None:
    desk.complete(incoming("r1", record=asked(place=place)))
    reply = desk.sender.acknowledge()
    assert (reply.topic, reply.key, reply.partition) == ("app.replies", b"r1", written)
    assert dict(reply.headers) == {"kafka_correlationId": ID}
    assert (reply.optional, desk.ended) == (True, [])
    result = desk.sender.acknowledge()
    assert (result.topic, result.value, desk.ended) == (RESULTS, reply.value, [8])
    assert "kafka_correlationId" not in dict(result.headers)


def test_who_asks_in_json_has_the_reply_in_json(desk: ReplyDesk) -> None:
    assert desk.outcome(asked(value=b'{"inputs": "a"}')) == [JSON, "app.replies", RESULTS]
    assert desk.sender.sent[1].value == desk.sender.sent[0].value
    assert json.loads(desk.sender.sent[1].value or b"")["request_id"] == "r1"
    assert desk.sender.sent[1].as_is


def test_a_failure_is_replied_too_with_its_code(desk: ReplyDesk) -> None:
    desk.fail(incoming("r1", record=asked(correlation=None)), Code.WORKER_CRASH)
    desk.sender.acknowledge_all()
    assert desk.topics() == [LETTERS, "app.replies", RESULTS]
    assert dict(desk.sender.sent[1].headers) == {"modelmora-error-code": b"worker_crash"}


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (asked(b"other"), Why.NOT_ALLOWED),
        (asked(b"one.more"), Why.NOT_ALLOWED),
        (asked(b"ns.requests.normal"), Why.NOT_ALLOWED),
        (asked(b"app./etc"), Why.MALFORMED),
        (asked(b"app.\n"), Why.MALFORMED),
        (asked(b".."), Why.MALFORMED),
        (asked(b"app." + b"x" * 246), Why.MALFORMED),
        (asked(b"\xff"), Why.MALFORMED),
        (FakeRecord(offset=8, headers=[("kafka_replyTopic", None)]), Why.MALFORMED),
        (asked(place=b"1"), Why.MALFORMED),
        (asked(place=b"\xff\xff\xff\xff"), Why.MALFORMED),
    ],
)
def test_a_reply_that_may_not_be_costs_no_outcome(
    desk: ReplyDesk, record: FakeRecord, why: Why
) -> None:
    assert desk.outcome(record) == [RESULTS]
    assert (desk.lost, desk.ended) == ([why], [8])


def test_a_pattern_does_not_mean_topics_without_end(
    desk: ReplyDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "MOST_TOPICS", 2)
    told = [desk.outcome(asked(name))[0] for name in (b"app.a", b"app.b", b"app.c", b"app.a")]
    assert told == ["app.a", "app.b", RESULTS, "app.a"]
    assert desk.lost == [Why.TOO_MANY]


def test_a_topic_that_refuses_is_left_alone_for_a_while(desk: ReplyDesk) -> None:
    with capture_logs() as logged:
        for _ in range(2):
            desk.complete(incoming("r1", record=asked()))
            desk.sender.waiting.pop(0).done(UNAVAILABLE)
            desk.sender.acknowledge_all()
            assert desk.topics()[-2:] == ["app.replies", RESULTS]
            assert desk.outcome(asked()) == [RESULTS]
            assert desk.outcome(asked(b"one")) == ["one", RESULTS]
            desk.now += copies.REST_S
    assert desk.lost == [Why.REFUSED] * 4
    assert sum("no reply" in each["event"] for each in logged) == 1
    assert desk.outcome(asked()) == ["app.replies", RESULTS]


def test_a_reply_that_is_too_large_says_nothing_of_the_next(desk: ReplyDesk) -> None:
    desk.complete(incoming("r1", record=asked(value=b'{"inputs": "a"}')))
    desk.sender.acknowledge()
    desk.sender.refuse()
    desk.sender.acknowledge_all()
    assert desk.topics() == [JSON, "app.replies", RESULTS]
    assert desk.outcome(asked()) == ["app.replies", RESULTS]


@pytest.mark.parametrize("refused", [1, 2])
def test_in_a_transaction_all_but_the_refused_copy_is_told_anew(
    desk: ReplyDesk, refused: int
) -> None:
    sent: list[Outgoing] = []
    desk.sender.send = sent.append  # type: ignore[assignment, method-assign]
    desk.fail(incoming("r1", record=asked(value=b'{"inputs": "a"}')), Code.WORKER_CRASH)
    parts = sent.pop().parts
    assert [part.topic for part in parts] == [LETTERS, JSON, "app.replies", RESULTS]
    for number, part in enumerate(parts):
        part.done((TooLarge() if number == 1 else UNAVAILABLE) if number == refused else Dropped())
    assert [part for part in parts if part is not parts[refused]] == list(sent[0].parts)


def test_no_reply_tells_what_the_result_takes_back(desk: ReplyDesk) -> None:
    long = "i" * (2 << 20)
    desk.complete(incoming(long, record=asked()))
    desk.sender.acknowledge_all()
    told = [decode_result(each.value) for each in desk.sender.sent if each.topic != LETTERS]
    assert {each.status for each in told} == {told[0].status}
    assert desk.ended == [8]


def test_a_principal_is_told_of_an_outcome_as_far_as_it_counts(desk: ReplyDesk) -> None:
    """Whole, one as large as its record would fit no outcome, which would be tried for ever."""
    record = FakeRecord(headers=[("modelmora-principal", b"p" * (2 << 20))])
    desk.complete(incoming(record=record))
    (sent,) = desk.sender.sent
    assert dict(sent.headers)["modelmora-principal"] == b"p" * 256
