"""Probes at a node: who is answered, where, and what is taken for an ordinary record."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from modelmora.access.signing import Signer, Verifier
from modelmora.agents.partitions.intake import Intake
from modelmora.agents.probes import Probes
from modelmora.kafka.probes import MODEL, probe_record
from modelmora.kafka.topics import read_topics
from modelmora.messages import InferenceRequest, Source, Status
from modelmora.messages.headers import PROBE, PROBE_SIGNATURE, REPLY_PARTITION
from modelmora.serving import BrokerClock
from modelmora.settings import Settings
from modelmora.testing.fakes import FakeRecord, FakeSender, FakeTime
from modelmora.wire import decode_request, decode_result, encode_request, new_request_id

LOW, RESULTS = "ns.requests.low", "ns.results"
MINE, OTHERS = Signer(b"a secret of this cluster"), Signer(b"a secret of nobody here")
Headers = tuple[tuple[str, bytes | None], ...]


class Desk:
    """A node that has read one record of a lane."""

    def __init__(self, verifier: Verifier | None = None) -> None:
        settings = Settings(namespace="ns")
        self.sender = FakeSender()
        self.intake = Intake(settings.limits, read_topics(settings))
        self.intake.assign((LOW, 1), 0, 0)
        clock = BrokerClock(FakeTime())
        proved = verifier or Verifier()
        self.probes = Probes(self.sender, self.intake, clock, RESULTS, proved)

    def takes(self, record: FakeRecord) -> bool:
        self.intake.begin(record)
        return self.probes.takes(record)


def probe(signer: Signer | None = None, new_id: str = "") -> FakeRecord:
    """A probe as it lies on the lane, put there just now."""
    made = probe_record(new_id or new_request_id(), (LOW, 1), 5, signer)
    now_ms = time.time_ns() // 1_000_000
    return FakeRecord(LOW, 1, 0, 0, now_ms, made.key, made.value, made.headers)


def without(record: FakeRecord, *names: str) -> FakeRecord:
    return replace(record, headers=tuple(each for each in record.headers if each[0] not in names))


def test_it_is_answered_where_its_gateway_reads() -> None:
    desk, record = Desk(), probe()
    assert desk.takes(record)
    (answer,) = desk.sender.waiting
    assert (answer.topic, answer.partition, answer.key) == (RESULTS, 5, record.key)
    result = decode_result(answer.value)
    assert (result.request_id.encode(), result.status) == (record.key, Status.COMPLETED)
    assert result.source == Source(LOW, 1, 0)
    assert [name for name, _ in answer.headers] == [PROBE]


def test_it_is_done_once_the_broker_has_the_answer() -> None:
    desk, record = Desk(), probe()
    desk.takes(record)
    assert desk.intake.owes(record)
    desk.sender.acknowledge_all()
    assert not desk.intake.owes(record)


def test_nothing_is_answered_for_a_partition_that_has_gone() -> None:
    desk, record = Desk(), probe()
    desk.takes(record)
    (answer,) = desk.sender.waiting
    assert answer.wanted is not None
    assert answer.wanted()
    desk.intake.revoke([(LOW, 1)])
    assert not answer.wanted()


def test_signed_it_is_answered() -> None:
    assert Desk(Verifier([b"another", MINE.secret or b""])).takes(probe(MINE))


LATER_MS = time.time_ns() // 1_000_000 + 1_000_000


@pytest.mark.parametrize(
    ("what", "record"),
    [
        ("no probe", without(probe(MINE), PROBE)),
        ("unsigned", probe()),
        ("signed by another cluster", probe(OTHERS)),
        ("with its signature taken off", without(probe(MINE), PROBE_SIGNATURE)),
        (
            "an old one, written again",
            replace(probe(MINE), timestamp=LATER_MS),
        ),
        ("one of another partition, written again", replace(probe(MINE), partition=2)),
        ("one of another lane, written again", replace(probe(MINE), topic="ns.requests.high")),
        ("without an id that tells a time", probe(MINE, new_id="r1")),
        ("with another's id", replace(probe(MINE), value=probe().value)),
        ("of a value that is none", replace(probe(MINE), value=b"nonsense")),
        ("without a value", replace(probe(MINE), value=None)),
    ],
)
def test_what_is_not_proved_is_judged_as_any_other_record(what: str, record: FakeRecord) -> None:
    desk = Desk(Verifier([MINE.secret or b""]))
    assert not desk.takes(record), what
    assert not desk.sender.waiting


def test_a_node_of_before_finds_a_request_for_no_model_that_anybody_has() -> None:
    request = decode_request(probe().value or b"")
    assert (request.model, request.inputs) == (MODEL, ())
    assert request.timeout_ms is not None


def test_where_its_answer_is_read_may_be_nonsense() -> None:
    record = without(probe(), REPLY_PARTITION)
    desk = Desk()
    assert desk.takes(replace(record, headers=(*record.headers, (REPLY_PARTITION, b"-1 x"))))
    assert desk.sender.waiting[0].partition is None


def test_nobody_has_a_request_of_others_answered_so() -> None:
    """Where nothing is signed, whoever may write to a lane may write a probe, by any id."""
    other = encode_request(InferenceRequest(new_request_id(), MODEL, ()))
    assert not Desk().takes(replace(probe(), value=other))
