"""Dead letters: the headers, and what is kept of a record that is too large."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from modelmora.agents.deadletters import KEPT_BYTES, headers_of, shortened
from modelmora.errors import Code, RequestError, Undecodable
from modelmora.messages import ResultHead, Source, Status
from modelmora.testing.fakes import FakeRecord
from modelmora.wire.ids import id_of_place

RECORD = FakeRecord(
    "ns.requests.low", 3, 42, key=b"k", value=b"v" * 100_000, headers=[("theirs", None)]
)
SOURCE = Source("ns.requests.low", 3, 42)
HEAD = ResultHead("r1", Status.FAILED, "m", "1", SOURCE)


def test_the_headers_say_whence_and_why() -> None:
    headers = headers_of(
        RECORD, replace(HEAD, attempt=3), RequestError(Code.WORKER_CRASH, "it died"), -9
    )
    assert headers[0] == ("theirs", None)
    assert dict(headers[1:]) == {
        "__connect.errors.topic": b"ns.requests.low",
        "__connect.errors.partition": b"3",
        "__connect.errors.offset": b"42",
        "__connect.errors.stage": b"TASK_PUT",
        "__connect.errors.class.name": b"modelmora",
        "__connect.errors.exception.class.name": b"RequestError",
        "__connect.errors.exception.message": b"it died",
        "modelmora-error-code": b"worker_crash",
        "modelmora-attempt": b"3",
        "modelmora-made": b"%d" % RECORD.timestamp,
        "modelmora-worker-exit-code": b"-9",
    }


def test_what_never_ran_has_no_exit_code() -> None:
    headers = dict(headers_of(RECORD, HEAD, Undecodable(Code.EMPTY_VALUE, "empty"), None))
    assert headers["__connect.errors.stage"] == b"VALUE_CONVERTER"
    assert headers["__connect.errors.exception.class.name"] == b"Undecodable"
    assert "modelmora-worker-exit-code" not in headers


def test_a_record_that_no_topic_takes_is_shortened() -> None:
    headers = headers_of(RECORD, HEAD, RequestError(Code.TOO_LARGE, "too large"), None)
    value, kept = shortened(RECORD.value, headers)
    assert value == b"v" * KEPT_BYTES
    names = dict(kept)
    assert names["modelmora-sha256"] == hashlib.sha256(RECORD.value or b"").hexdigest().encode()
    assert names["modelmora-size"] == b"100000"
    assert names["modelmora-error-code"] == b"too_large"
    assert names["__connect.errors.offset"] == b"42"
    assert "theirs" not in names, "they may be what made it too large"


def test_a_null_value_is_shortened_to_nothing() -> None:
    value, kept = shortened(None, [])
    assert value == b""
    assert dict(kept)["modelmora-size"] == b"0"


def test_a_letter_of_json_says_which_request_it_is() -> None:
    error = RequestError(Code.WORKER_CRASH, "it died")
    told = FakeRecord("ns.requests.low", 3, 42, value=b'{"inputs": ["a"]}')
    made = id_of_place("ns.requests.low", 3, 42, told.timestamp)
    headers = headers_of(told, replace(HEAD, request_id=made), error, None)
    assert ("modelmora-request-id", made.encode()) in headers
    told.headers = (("modelmora-request-id", b"mine"),)
    names = [name for name, _ in headers_of(told, HEAD, error, None)]
    assert names.count("modelmora-request-id") == 1


def test_a_run_that_its_record_does_not_name_is_said() -> None:
    error = RequestError(Code.WORKER_CRASH, "it died")
    assert ("modelmora-run", b"2") in headers_of(RECORD, replace(HEAD, run=2), error, None)
    replay = FakeRecord("ns.requests.low", 3, 42, headers=[("modelmora-run", b"2")])
    names = [name for name, _ in headers_of(replay, replace(HEAD, run=2), error, None)]
    assert names.count("modelmora-run") == 1
