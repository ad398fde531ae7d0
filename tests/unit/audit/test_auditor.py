"""The audit of a process: never waited for, whole as far as a broker took it, and bounded."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from modelmora.audit import auditor as module
from modelmora.audit.anchors import Anchor, anchor_of
from modelmora.audit.auditor import GAP, START, STOP, Auditor, untold
from modelmora.audit.chain import MOST_REASON, Told
from modelmora.audit.folding import MOST_KINDS, SEVERAL, WINDOW_MS, Folding
from modelmora.audit.signing import Signer
from modelmora.audit.verifying import Line, Report, verify
from modelmora.kafka.topics import Topic
from modelmora.kafka.writing.publisher import Dropped, Record, Written
from modelmora.messages import AuditEvent, Decision
from modelmora.messages.headers import SIGNATURE
from modelmora.wire import decode_audit, decode_event

AUDIT, EVENTS = Topic.AUDIT.full("ns"), Topic.EVENTS.full("ns")


class Broker:
    """Takes records when it is told to."""

    def __init__(self) -> None:
        self.sent: list[Record] = []
        self.open: list[Record] = []
        self.logs: dict[str, list[Record]] = {AUDIT: [], EVENTS: []}
        self.takes = True

    def send(self, record: Record) -> None:
        self.sent.append(record)
        self.open.append(record)

    def take(self) -> None:
        """Acknowledge all, and what comes of that."""
        while self.open:
            record = self.open.pop(0)
            log = self.logs[record.topic]
            log.append(record)
            record.done(Written(0, len(log) - 1, 1))

    def events(self) -> list[AuditEvent]:
        return [decode_audit(each.value) for each in self.logs[AUDIT]]

    def anchors(self) -> list[Anchor]:
        found = [anchor_of(decode_event(each.value)) for each in self.logs[EVENTS]]
        return [each for each in found if each]

    def verified(self) -> Report:
        lines = [
            Line(f"{AUDIT}:0:{at}", 0, at, each.value, dict(each.headers)[SIGNATURE] or b"")
            for at, each in enumerate(self.logs[AUDIT])
        ]
        return verify(lines, self.anchors(), {0: 0})


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def auditor() -> Auditor:
    return Auditor("ns", "node@a", "nodes", Signer())


async def test_a_process_tells_its_life_and_what_was_decided(
    broker: Broker, auditor: Auditor
) -> None:
    auditor.tell("install", "alice", model="m@1")  # before there is a broker
    auditor.use(broker.send)
    auditor.tell("call", "mallory", allowed=False, reason="no", request_id="r1")
    auditor.stop()
    broker.take()
    told = broker.events()
    assert [each.verb for each in told] == [START, "install", "call", STOP]
    assert [each.decision for each in told] == [Decision.ALLOWED] * 2 + [
        Decision.DENIED,
        Decision.ALLOWED,
    ]
    assert (told[2].principal, told[2].reason, told[2].request_id) == ("mallory", "no", "r1")
    assert broker.verified().findings == []
    assert [each.head.sequence for each in broker.anchors()] == [0, 3]
    assert auditor.idle


async def test_a_dead_broker_costs_a_count_and_it_is_told_in_its_place(
    broker: Broker, auditor: Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 50)
    monkeypatch.setattr(module, "WINDOW", 10)
    auditor.use(broker.send)
    for number in range(500):
        auditor.tell("load", f"p{number}")
    assert len(broker.sent) == 10
    broker.take()
    auditor.tell("load", "last")
    auditor.stop()
    broker.take()
    told = broker.events()
    (gap,) = [each for each in told if each.verb == GAP]
    there = [each for each in told if each.verb == "load"]
    assert gap.reason == f"{501 - len(there)} records before this could not be written"
    assert [each.sequence for each in told] == [*range(len(told))]
    report = broker.verified()
    assert report.findings == []
    assert [len(each.lost) for each in report.writers.values()] == [1]


async def test_what_a_publisher_gives_up_is_told_and_found(
    broker: Broker, auditor: Auditor
) -> None:
    auditor.use(broker.send)
    auditor.tell("load", "alice")
    lost = broker.open.pop()
    lost.done(Dropped())
    broker.take()
    assert [each.verb for each in broker.events()] == [START, GAP]
    assert [each.fault for each in broker.verified().findings] == ["missing"]


async def test_nothing_that_is_told_can_be_too_much(broker: Broker, auditor: Auditor) -> None:
    auditor.use(broker.send)
    bad = "\ud800\n" + "x" * 10_000
    auditor.tell(bad, bad, model=bad, reason=bad, request_id=bad)
    broker.take()
    told = broker.events()[-1]
    assert len(told.reason or "") == MOST_REASON
    assert told.principal.startswith("\\ud800\\nxxx")
    assert max(len(each.value or b"") for each in broker.logs[AUDIT]) < 2_500


async def test_heads_are_told_now_and_then(
    broker: Broker, auditor: Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANCHOR_S", 0.0)
    auditor.use(broker.send)
    for number in range(5):
        auditor.tell("load", f"p{number}")
    broker.take()
    assert [each.head.sequence for each in broker.anchors()] == [0]
    monkeypatch.setattr(module, "AGAIN_S", 0.0)
    while len(broker.anchors()) < 4:
        await asyncio.sleep(0)
        broker.take()
    assert [each.head.sequence for each in broker.anchors()] == [0, 5, 5, 5]
    auditor.stop()
    broker.take()
    assert broker.anchors()[-1].head.sequence == 6
    assert broker.verified().findings == []


def denied(number: int = 0, at: int = 0) -> Told:
    return Told("call", f"p{number}", at, allowed=False, reason="no", request_id=f"r{at}")


def test_refusals_that_are_alike_are_counted() -> None:
    folding = Folding()
    assert folding.take(denied(0)) == [denied(0)]
    for at in range(1, 1000):
        assert folding.take(denied(0, at)) == []
    assert folding.take(denied(1, 999)) == [denied(1, 999)]
    assert folding.due(WINDOW_MS - 1) == []
    (more,) = folding.due(WINDOW_MS)
    assert more == replace(
        denied(0, WINDOW_MS), reason="999 more like it within 10 s: no", request_id=None
    )
    assert folding.counts
    assert folding.due() == []
    assert not folding.counts
    allowed = Told("load", "p", 0)
    assert [folding.take(allowed) for _ in range(3)] == [[allowed]] * 3


def test_so_many_kinds_of_refusals_are_counted_and_no_more() -> None:
    folding = Folding()
    for number in range(MOST_KINDS):
        assert folding.take(denied(number)) == [denied(number)]
    for number in range(MOST_KINDS, 5 * MOST_KINDS):
        assert folding.take(denied(number)) == []
    assert folding.take(denied(0)) == []
    one, others = folding.due(WINDOW_MS)
    assert (one.principal, one.reason) == ("p0", "1 more like it within 10 s: no")
    assert (others.principal, others.model) == (SEVERAL, None)
    assert others.reason == f"{4 * MOST_KINDS} more like it within 10 s: of other kinds"
    assert not folding.counts


async def test_what_was_counted_is_told_at_the_end(broker: Broker, auditor: Auditor) -> None:
    auditor.use(broker.send)
    for _ in range(100):
        auditor.tell("call", "unknown", allowed=False, reason="no key")
    auditor.stop()
    broker.take()
    assert [each.reason for each in broker.events()][1:] == [
        "no key",
        "99 more like it within 10 s: no key",
        None,
    ]


def test_nobody_can_be_told() -> None:
    untold("load", "alice", allowed=False, model="m", reason="no", request_id="r")
