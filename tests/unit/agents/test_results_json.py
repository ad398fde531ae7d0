"""Outcomes in JSON: before those in Avro, never against them, and nothing lost over them."""

from __future__ import annotations

import json

import pytest

from modelmora.errors import Code, Undecodable
from modelmora.kafka.sizes import RECORD_BYTES
from modelmora.kafka.writing.publisher import Dropped, Ends, TooLarge
from modelmora.kafka.writing.publisher import Record as Outgoing
from modelmora.testing.fakes import FakeRecord, incoming
from modelmora.wire import encode_outputs
from tests.unit.agents.test_results import LETTERS, MODEL, RESULTS, TIMES, Desk

IN_JSON = FakeRecord(offset=8, value=b'{"inputs": ["a"]}')
JSON = "ns.results.json"


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_who_asks_in_json_is_answered_in_json_first(desk: Desk) -> None:
    desk.complete(incoming("r1", record=IN_JSON))
    sent = desk.sender.acknowledge()
    assert (sent.topic, sent.key, desk.ended) == (JSON, b"r1", [])
    told = json.loads(sent.value or b"")
    assert (told["request_id"], told["status"], told["outputs"]) == ("r1", "COMPLETED", ["a"])
    assert told["source"] == {"topic": IN_JSON.topic, "partition": 0, "offset": 8}
    assert (told["error"], told["attempt"], told["run"]) == (None, 1, 1)
    sent = desk.sender.acknowledge()
    assert (sent.topic, desk.ended) == (RESULTS, [8])
    assert sent.ends == Ends((IN_JSON.topic, 0), 0, 8)


def test_what_fails_in_json_leaves_all_three(desk: Desk) -> None:
    desk.fail(incoming("r1", record=IN_JSON), Code.WORKER_CRASH, later=7)
    desk.sender.acknowledge_all()
    assert desk.topics() == [LETTERS, JSON, RESULTS]
    told = json.loads(desk.sender.sent[1].value or b"")
    assert told["error"] == {"code": "worker_crash", "message": "why", "retry_after_ms": 7}
    assert (told["status"], desk.ended) == ("FAILED", [8])


def test_an_outcome_that_no_topic_takes_as_json_is_written_without(desk: Desk) -> None:
    desk.complete(incoming("r1", record=IN_JSON))
    desk.sender.refuse()
    desk.sender.acknowledge_all()
    assert desk.topics() == [JSON, RESULTS]
    assert desk.ended == [8]


@pytest.mark.parametrize(
    "outputs", [encode_outputs(["x" * RECORD_BYTES]), b"\xff" * 10], ids=["too long", "broken"]
)
def test_what_has_no_form_in_json_never_contradicts_itself(desk: Desk, outputs: bytes) -> None:
    desk.results.completed(incoming("r1", record=IN_JSON), MODEL, outputs, {}, TIMES, 1)
    desk.sender.acknowledge_all()
    (told,) = [json.loads(sent.value or b"") for sent in desk.sender.sent if sent.topic == JSON]
    long = len(outputs) > RECORD_BYTES
    assert told["status"] == ("FAILED" if long else "COMPLETED")
    assert told["outputs"] == ([] if long else None)
    assert desk.ended == [8]


def test_what_is_refused_for_its_json_is_told_as_refused(desk: Desk) -> None:
    desk.undecodable(IN_JSON, Undecodable(Code.INVALID_INPUT, "no", request_id="r1"))
    desk.sender.acknowledge_all()
    assert desk.topics() == [LETTERS, JSON, RESULTS]
    assert json.loads(desk.sender.sent[1].value or b"")["status"] == "REFUSED"


def test_a_result_refused_in_a_transaction_is_told_anew_with_its_letter(desk: Desk) -> None:
    """There all parts are refused together, and none was sent by itself."""
    sent: list[Outgoing] = []
    desk.sender.send = sent.append  # type: ignore[assignment, method-assign]
    desk.fail(incoming("r" * 300, record=IN_JSON), Code.WORKER_CRASH)
    letter, told, result = sent.pop().parts
    letter.done(Dropped())
    told.done(Dropped())
    result.done(TooLarge())
    (again,) = sent
    assert [part.topic for part in again.parts] == [LETTERS, JSON, RESULTS]
    assert again.parts[0] is letter
    assert again.key == b"r" * 256
    sent.clear()
    letter, told, result = again.parts
    letter.done(Dropped())
    told.done(TooLarge())
    result.done(Dropped())
    assert [part.topic for part in sent[0].parts] == [LETTERS, RESULTS]
