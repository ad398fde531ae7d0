"""What a trace says of each record, and that it never shows content."""

from __future__ import annotations

from modelmora.cli.cluster.trace import describe
from modelmora.deadletters.letters import Replay
from modelmora.errors import Code
from modelmora.messages import (
    ControlCommand,
    ControlVerb,
    ErrorInfo,
    InferenceRequest,
    InferenceResult,
    ProgressEvent,
    ProgressStage,
    Source,
    Status,
    Timings,
)
from modelmora.wire import encode_control, encode_progress, encode_request, encode_result
from tests.unit.cli.records import record

ID = "one"
REQUEST = encode_request(InferenceRequest(ID, "m", ("a secret",), timeout_ms=1500))
SOURCE = Source("t", 0, 0)


def test_a_request_without_its_content() -> None:
    headers = {
        "modelmora-principal": "ann",
        "modelmora-gateway": "g",
        "traceparent": "00-4bf92f-00f0-01",
    }
    told = describe("requests.high", record("t", REQUEST, headers), ID)
    size = f"{len(REQUEST)} B"
    assert told == f"for m, {size}, by ann, through the gateway, trace 4bf92f, timeout 1.5 s"
    assert describe("requests.high", record("t", REQUEST), "other") is None


def test_a_broken_request_says_so() -> None:
    told = describe("requests.low", record("t", REQUEST[:-3]), ID)
    assert told == f"broken: undecodable, {len(REQUEST) - 3} B, by local"


def test_outcomes() -> None:
    done = InferenceResult(
        *(ID, Status.COMPLETED, "m", "1", SOURCE),
        timings=Timings(1, 2000, 30, 2031),
        attempt=2,
        outputs=("a secret",),
    )
    told = describe("results", record("t", encode_result(done)), ID)
    spent = "queue 1.0 ms, load 2 s, inference 30 ms, total 2 s, attempt 2"
    assert told == f"COMPLETED by m@1: {spent}"
    assert describe("results", record("t", encode_result(done)), "other") is None
    failed = InferenceResult(
        ID, Status.REFUSED, "m", "1", SOURCE, error=ErrorInfo(Code.BUSY, "come back")
    )
    told = describe("results", record("t", encode_result(failed)), ID)
    assert told == "REFUSED busy: come back"


def test_progress_and_commands() -> None:
    event = ProgressEvent(ID, ProgressStage.ACCEPTED, "m", 3, 250.0, chunk=b"a secret")
    told = describe("progress", record("t", encode_progress(event)), ID)
    assert told == "accepted, 3 ahead, start in 250 ms"
    command = encode_control(ControlCommand(ControlVerb.CANCEL, ID, "ann"))
    assert describe("control", record("t", command), ID) == "CANCEL by ann"
    assert describe("control", record("t", command), "other") is None
    assert "not readable" in (describe("control", record("t", b"one"), ID) or "")


def test_a_dead_letter() -> None:
    headers = {
        "modelmora-error-code": "worker_crash",
        "__connect.errors.exception.message": "it died",
        "__connect.errors.topic": "ns.requests.low",
        "__connect.errors.partition": "3",
        "__connect.errors.offset": "9",
    }
    told = describe("dead-letters", record("t", REQUEST, headers), ID)
    assert told == "worker_crash: it died (from ns.requests.low:3:9)"
    assert describe("dead-letters", record("t", b"one"), ID) is None


def test_what_is_of_a_replay_says_so() -> None:
    run = {"modelmora-run": "2"}
    told = describe("requests.low", record("t", REQUEST, run), ID)
    assert told == f"run 2: for m, {len(REQUEST)} B, by local, timeout 1.5 s"
    assert (describe("requests.low", record("t", REQUEST[:-3], run), ID) or "").startswith("run 2:")
    done = InferenceResult(ID, Status.COMPLETED, "m", "1", SOURCE, run=2)
    told = describe("results", record("t", encode_result(done)), ID)
    assert (told or "").startswith("run 2: COMPLETED by m@1")
    note = {name: value.decode() for name, value in Replay.headers((0, 1), 2, "t:0:7")}
    told = describe("dead-letters", record("t", None, note, key=ID.encode()), ID)
    assert told == "run 2: replayed to t:0:7"
