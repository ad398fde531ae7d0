"""Dead letters: what their headers say, which are replays, and what becomes of each in a replay."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelmora.deadletters.contents import TEXT, told_request
from modelmora.deadletters.letters import (
    DeadLetter,
    Replay,
    Wanted,
    original_headers,
    place_of,
    since_ms,
)
from modelmora.deadletters.replays import plan
from modelmora.errors import ConfigurationError
from modelmora.messages import ChatMessage, InferenceRequest, ObjectRef, Tensor
from modelmora.wire import MOST_RUNS, encode_request
from tests.unit.cli.records import record

VALUE = encode_request(InferenceRequest("one", "m", ("a secret",)))
LANE = "ns.requests.low"
HEADERS = {
    "modelmora-principal": "ann",
    "own": "kept",
    "modelmora-handed-on": "1 2 3 4",
    "__connect.errors.topic": LANE,
    "__connect.errors.partition": "3",
    "__connect.errors.offset": "9",
    "__connect.errors.exception.message": "it died",
    "modelmora-error-code": "worker_crash",
    "modelmora-attempt": "2",
    "modelmora-worker-exit-code": "-9",
}
LETTER = DeadLetter.of(record("ns.dead-letters", VALUE, HEADERS, place=(1, 4)))


def test_everything_but_the_content_is_told() -> None:
    told = LETTER.as_json()
    assert "secret" not in str(told)
    told.pop("time")
    assert told == {
        "place": "ns.dead-letters:1:4",
        "request_id": "one",
        "model": "m",
        "run": 1,
        "code": "worker_crash",
        "reason": "it died",
        "source": "ns.requests.low:3:9",
        "attempt": 2,
        "worker_exit_code": -9,
        "key": "key",
        "bytes": len(VALUE),
        "cut": False,
        "replayed": None,
    }


def test_the_original_headers_are_those_that_were_not_added() -> None:
    found = original_headers(record("t", VALUE, HEADERS))
    assert found == [("modelmora-principal", b"ann"), ("own", b"kept")]


def test_a_letter_that_was_cut_says_how_large_it_was() -> None:
    headers = {"modelmora-sha256": "ab", "modelmora-size": "3000000"}
    letter = DeadLetter.of(record("t", VALUE[:-3], headers))
    assert letter.cut
    assert (letter.bytes, letter.request_id, letter.model) == (3_000_000, "one", "m")


def test_a_letter_of_someone_else_has_no_source() -> None:
    letter = DeadLetter.of(record("t", None, {"__connect.errors.topic": "x"}, key=None))
    assert (letter.source, letter.request_id, letter.model, letter.code) == (
        None,
        "",
        "",
        "unknown",
    )
    headers = {**HEADERS, "__connect.errors.offset": "-1", "modelmora-attempt": "x"}
    letter = DeadLetter.of(record("t", None, headers))
    assert (letter.source, letter.attempt) == (None, None)


def test_where_nothing_is_readable_the_key_names_the_model() -> None:
    assert DeadLetter.of(record("t", b"nonsense", key=b"m")).model == "m"


@pytest.mark.parametrize(
    ("header", "run"), [(None, 1), ("2", 2), ("x", 1), ("-1", 1), (str(2**31), 1)]
)
def test_the_run_of_a_letter(header: str | None, run: int) -> None:
    headers = HEADERS | ({"modelmora-run": header} if header else {})
    assert DeadLetter.of(record("t", VALUE, headers)).run == run


def test_a_note_is_no_letter_and_a_letter_is_no_note() -> None:
    headers = {name: value.decode() for name, value in Replay.headers((1, 4), 2, "t:0:7")}
    note = Replay.of(record("t", None, headers, key=b"one"))
    assert note == Replay((1, 4), "one", 2, "t:0:7", 1_700_000_000_000)
    # The headers of a request stay in front of those of its letter: it may carry these.
    assert Replay.of(record("t", None, headers | HEADERS)) is None
    assert Replay.of(record("t", VALUE, headers)) is None
    for wrong in ("", "1", "1 -4", "1 4 5", "a b", "٣ 4", "1 " + "9" * 30):
        assert Replay.of(record("t", None, headers | {"modelmora-replay-of": wrong})) is None


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        (Wanted(), True),
        (Wanted(code="worker_crash"), True),
        (Wanted(code="undecodable"), False),
        (Wanted(model="m"), True),
        (Wanted(model="m@2"), True),
        (Wanted(model="m@1"), False),
        (Wanted(since=LETTER.time), True),
        (Wanted(since=LETTER.time + 1), False),
    ],
)
def test_which_letters_are_wanted(wanted: Wanted, taken: bool) -> None:
    assert wanted.takes(replace(LETTER, model="m@2")) is taken


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("30min", 100_000_000 - 1_800_000),
        ("30m", 100_000_000 - 1_800_000),
        ("2h", 100_000_000 - 7_200_000),
        ("1d", 100_000_000 - 86_400_000),
        ("5s", 99_995_000),
        ("99999999d", 0),
        ("1970-01-02T00:00:00+00:00", 86_400_000),
    ],
)
def test_since(text: str, ms: int) -> None:
    assert since_ms(text, 100_000_000) == ms


@pytest.mark.parametrize("text", ["", "yesterday", "2", "-2h", "2 weeks", "9" * 400 + "h"])
def test_since_what(text: str) -> None:
    with pytest.raises(ConfigurationError, match="30m, 2h, 7d"):
        since_ms(text, 0)


def test_a_letter_goes_back_as_the_next_run_of_its_id() -> None:
    twin = replace(LETTER, place=("ns.dead-letters", 1, 5))
    other = replace(LETTER, source=(LANE, 3, 10))
    nameless = replace(LETTER, request_id="", source=(LANE, 3, 11), run=4)
    reruns = plan([LETTER, twin, other, nameless], {"one": 7}, [LANE], again=False)
    assert [(len(each.letters), each.run, each.to, each.why) for each in reruns] == [
        (2, 8, LANE, None),
        (1, 9, LANE, None),
        (1, 5, LANE, None),
    ]


@pytest.mark.parametrize(
    ("letter", "why"),
    [
        (replace(LETTER, source=None), "name no topic"),
        (replace(LETTER, source=("elsewhere", 0, 0)), "name no topic"),
        (replace(LETTER, cut=True), "first 64 KiB"),
        (replace(LETTER, run=MOST_RUNS), "all there can be"),
        (replace(LETTER, replay=Replay((1, 4), "one", 2, "t:0:7", 0)), "run 2; `again`"),
    ],
)
def test_what_does_not_go_back_says_why(letter: DeadLetter, why: str) -> None:
    (rerun,) = plan([letter], {}, [LANE], again=False)
    assert (rerun.to, rerun.run) == (None, 0)
    assert why in (rerun.why or "")


def test_again_is_one_run_more() -> None:
    letter = replace(LETTER, replay=Replay((1, 4), "one", 2, "t:0:7", 0))
    (rerun,) = plan([letter], {}, [LANE], again=True)
    assert rerun.run == 3


def test_what_a_caller_sent_in_short() -> None:
    tensor = Tensor("x", "FP32", (2,), bytes(8))
    reference = ObjectRef("s3://a", "00", 5, "text/plain", 9)
    inputs = ("a" * 1000, b"bytes", tensor, reference, ChatMessage("user", "b" * 1000))
    value = encode_request(InferenceRequest("one", "m", inputs, parameters={"n": 1}))
    told = told_request(value)
    text, raw, dense, far, chat = told["inputs"]
    assert (len(text), raw, dense["data"]) == (TEXT, {"bytes": 5}, {"bytes": 8})
    assert (far["uri"], chat["role"], len(chat["content"])) == ("s3://a", "user", TEXT)
    assert (told["request_id"], told["model"], told["parameters"]) == ("one", "m", {"n": 1})


def test_as_much_as_can_be_read_of_what_is_broken() -> None:
    told = told_request(VALUE[:-3])
    assert (told["request_id"], told["model"]) == ("one", "m")
    assert "not Avro" in told["fault"]
    assert told_request(b"\x1b[2J")["begins"] == "\\x1b[2J"
    assert "no value" in told_request(None)["fault"]


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


LONG = "9" * 5000


@pytest.mark.parametrize("header", ["partition", "offset"])
def test_a_source_that_can_be_no_place_is_none(header: str) -> None:
    """Whoever may write the topic writes its headers: one letter must not hide all others."""
    for value in (LONG, "-1", "٣", "1.0", ""):
        lied = record("ns.dead-letters", VALUE, HEADERS | {f"__connect.errors.{header}": value})
        assert DeadLetter.of(lied).source is None


def test_numbers_that_nobody_can_have_meant_are_none() -> None:
    names = ("modelmora-attempt", "modelmora-worker-exit-code", "modelmora-size")
    lied = DeadLetter.of(record("ns.dead-letters", VALUE, HEADERS | dict.fromkeys(names, LONG)))
    assert (lied.attempt, lied.worker_exit_code, lied.bytes) == (None, None, len(VALUE))


@pytest.mark.parametrize("name", [f"1:{LONG}", f"dead-letters:{LONG}:1", "٣:٤"])
def test_what_can_be_no_place_names_none(name: str) -> None:
    if name.startswith("dead-letters"):
        with pytest.raises(ConfigurationError, match="must be topic:partition:offset"):
            place_of(name, "ns")
    else:
        assert place_of(name, "ns") is None


def test_a_time_that_no_calendar_has_is_told_as_its_number() -> None:
    for at in (1 << 62, -(1 << 62), 10**17):
        assert replace(LETTER, time=at).as_json()["time"] == str(at)
