"""When a request was made: the same, however often it is read, put off, handed on or replayed."""

from __future__ import annotations

import pytest

from modelmora.agents.deadletters import headers_of
from modelmora.deadletters.letters import original_headers
from modelmora.errors import Code, RequestError
from modelmora.messages import ResultHead, Source, Status
from modelmora.messages.headers import MADE
from modelmora.serving import HandedOn
from modelmora.testing.fakes import UNIX_MS, FakeRecord, incoming
from modelmora.wire import id_of_name


def letter(request_id: str, record: FakeRecord) -> FakeRecord:
    """What lies on `dead-letters` of a request."""
    head = ResultHead(request_id, Status.FAILED, "m", "1", Source("t", 0, 0))
    error = RequestError(Code.WORKER_CRASH, "it died")
    return FakeRecord(headers=headers_of(record, head, error, None))


@pytest.mark.parametrize(
    ("id_ms", "made_ms"),
    [
        (UNIX_MS - 86_400_000, UNIX_MS - 86_400_000),
        (UNIX_MS + 2000, UNIX_MS + 2000),
        (UNIX_MS + 2001, UNIX_MS),
        (4_000_000_000_000, UNIX_MS),
    ],
)
def test_an_id_tells_when_it_was_made_unless_that_is_still_to_come(
    id_ms: int, made_ms: int
) -> None:
    assert incoming(id_of_name("x", id_ms)).made_ms == made_ms


@pytest.mark.parametrize("request_id", ["order-17", id_of_name("x", 4_000_000_000_000)])
def test_else_it_is_when_it_was_appended_first(request_id: str) -> None:
    later = FakeRecord(timestamp=UNIX_MS + 60_000)
    request = incoming(request_id, record=later)
    assert request.made_ms == UNIX_MS + 60_000
    request.handed_on = HandedOn(1, 0, 0, UNIX_MS, "modelmora.requests.normal")
    assert request.made_ms == UNIX_MS


def test_a_replay_was_made_when_its_first_run_was() -> None:
    record = FakeRecord(headers=[("x", b"y")])
    for run in range(3):
        kept = original_headers(letter("order-17", record))  # type: ignore[arg-type]
        assert [name for name, _ in kept] == ["x", MADE]
        record = FakeRecord(timestamp=UNIX_MS + 1000 * (run + 1), headers=kept)
        assert incoming("order-17", record=record).made_ms == UNIX_MS
    with_time = letter(id_of_name("x", UNIX_MS), FakeRecord())
    assert MADE not in dict(with_time.headers)


@pytest.mark.parametrize("value", [b"", b"x", b"-5", b"9" * 30, "٣".encode(), None])
def test_a_time_that_nobody_writes_counts_for_nothing(value: bytes | None) -> None:
    assert incoming("r", record=FakeRecord(headers=[(MADE, value)])).made_ms == UNIX_MS


def test_nothing_is_made_after_it_was_appended() -> None:
    later = str(UNIX_MS + 5).encode()
    assert incoming("r", record=FakeRecord(headers=[(MADE, later)])).made_ms == UNIX_MS


def test_of_a_header_the_first_counts_and_only_its_beginning() -> None:
    record = FakeRecord(headers=[("a", b"1"), ("a", b"2"), ("b", None), ("c", b"\xff" * 999)])
    request = incoming(record=record)
    assert [request.header(name) for name in "abd"] == ["1", "", None]
    assert len(request.header("c") or "") == 256
