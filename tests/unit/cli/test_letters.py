"""Dead letters: what their headers say, and the records they were."""

from __future__ import annotations

import pytest

from modelmora.cli.letters import DeadLetter, place_of
from modelmora.errors import ConfigurationError
from modelmora.messages import InferenceRequest
from modelmora.wire import encode_request
from tests.unit.cli.records import record

VALUE = encode_request(InferenceRequest("one", "m", ("a secret",)))
HEADERS = {
    "modelmora-principal": "ann",
    "own": "kept",
    "__connect.errors.topic": "ns.requests.low",
    "__connect.errors.partition": "3",
    "__connect.errors.offset": "9",
    "__connect.errors.exception.message": "it died",
    "modelmora-error-code": "worker_crash",
    "modelmora-attempt": "2",
    "modelmora-worker-exit-code": "-9",
}


def test_everything_but_the_content_is_told() -> None:
    letter = DeadLetter(record("ns.dead-letters", VALUE, HEADERS, place=(1, 4)))
    told = letter.as_json()
    assert "secret" not in str(told)
    told.pop("time")
    assert told == {
        "place": "ns.dead-letters:1:4",
        "request_id": "one",
        "code": "worker_crash",
        "reason": "it died",
        "source": "ns.requests.low:3:9",
        "attempt": 2,
        "worker_exit_code": -9,
        "key": "key",
        "bytes": len(VALUE),
        "cut": False,
    }


def test_the_original_headers_are_those_that_were_not_added() -> None:
    letter = DeadLetter(record("t", VALUE, HEADERS))
    assert letter.original_headers() == [("modelmora-principal", b"ann"), ("own", b"kept")]


def test_a_letter_that_was_cut_says_how_large_it_was() -> None:
    letter = DeadLetter(record("t", b"x", {"modelmora-sha256": "ab", "modelmora-size": "3000000"}))
    assert letter.cut
    assert letter.as_json()["bytes"] == 3_000_000


def test_a_letter_of_someone_else_has_no_source() -> None:
    letter = DeadLetter(record("t", None, {"__connect.errors.topic": "x"}, key=None))
    assert (letter.source, letter.source_place, letter.request_id) == (None, "", "")
    assert letter.code == "unknown"
    headers = {**HEADERS, "__connect.errors.offset": "-1", "modelmora-attempt": "x"}
    letter = DeadLetter(record("t", None, headers))
    assert letter.source is None
    assert letter.as_json()["attempt"] is None


@pytest.mark.parametrize(
    ("selector", "place"),
    [
        ("ns.results:1:2", ("ns.results", 1, 2)),
        ("dead-letters:0:9", ("ns.dead-letters", 0, 9)),
        ("other:1:2", ("other", 1, 2)),
        ("3:14", ("ns.dead-letters", 3, 14)),
        ("019a-id", None),
        ("urn:uuid:1234", None),
        ("a:b", None),
    ],
)
def test_places(selector: str, place: tuple[str, int, int] | None) -> None:
    assert place_of(selector, "ns") == place


def test_a_place_without_numbers_is_a_mistake() -> None:
    with pytest.raises(ConfigurationError, match="topic:partition:offset"):
        place_of("dead-letters:one:2", "ns")
