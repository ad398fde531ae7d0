"""The judgement finds every kind of planted violation, and nothing in clean evidence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.checker import (
    DeadLetter,
    Delivery,
    Evidence,
    Expected,
    Fault,
    Outcome,
    Place,
    Request,
    Sample,
    Told,
    judge,
)
from tests.checker.evidence import digest

LANE, RESULTS, LETTERS = "m.requests.normal", "m.results", "m.dead-letters"


def _place(offset: int) -> Place:
    return Place(LANE, 0, offset)


def _request(offset: int, request_id: str) -> Request:
    return Request(_place(offset), request_id, b"model", digest(request_id.encode()))


def _outcome(at: int, request_id: str, source: int) -> Outcome:
    return Outcome(Place(RESULTS, 0, at), request_id, "COMPLETED", "", _place(source))


def _letter(at: int, source: Request, code: str) -> DeadLetter:
    return DeadLetter(Place(LETTERS, 0, at), source.place, code, source.key, source.sha256)


def _expected(request: Request) -> Expected:
    place = None if request.request_id else request.place
    return Expected(request.request_id, LANE, request.sha256, place)


GOOD, FAILED, UNREADABLE, TWICE = (
    _request(0, "good"),
    _request(1, "failed"),
    _request(2, ""),
    _request(3, "good"),
)
REQUESTS = (GOOD, FAILED, UNREADABLE, TWICE)
OUTCOMES = (
    _outcome(0, "good", 0),
    replace(_outcome(1, "failed", 1), status="FAILED", code="worker_crash"),
    _outcome(2, "good", 3),
)
EXPIRED = replace(OUTCOMES[0], status="EXPIRED", code="expired")
LETTER_FAILED = _letter(0, FAILED, "worker_crash")
LETTER_UNREADABLE = _letter(1, UNREADABLE, "undecodable")


def _sample(committed: int, results: int, letters: int) -> Sample:
    return Sample({(LANE, 0): committed}, {(RESULTS, 0): results, (LETTERS, 0): letters})


CLEAN = Evidence(
    (_expected(GOOD), _expected(FAILED), _expected(UNREADABLE)),
    REQUESTS,
    OUTCOMES,
    (LETTER_FAILED, LETTER_UNREADABLE),
    (_sample(0, 0, 0), _sample(1, 1, 0), _sample(3, 2, 2), _sample(4, 3, 2)),
)


def _kinds(evidence: Evidence) -> list[str]:
    return [violation.kind for violation in judge(evidence).violations]


def test_clean_evidence_has_no_violation() -> None:
    verdict = judge(CLEAN)
    assert verdict.violations == ()
    assert verdict.counts["requests"] == 4
    assert verdict.counts["repeated"] == 0
    assert verdict.counts["status.COMPLETED"] == 2


def test_a_request_without_an_outcome_is_lost() -> None:
    quiet = replace(CLEAN, samples=())
    assert _kinds(replace(quiet, outcomes=OUTCOMES[:1] + OUTCOMES[2:])) == ["lost"]


def test_an_id_that_never_reached_the_log_is_lost() -> None:
    ghost = Expected("ghost", LANE, digest(b"ghost"))
    assert _kinds(replace(CLEAN, expected=(*CLEAN.expected, ghost))) == ["lost"]


def test_the_second_record_of_an_id_needs_an_outcome_of_its_own() -> None:
    assert _kinds(replace(CLEAN, outcomes=OUTCOMES[:2], samples=())) == ["lost"]


def test_an_unreadable_record_without_a_dead_letter_is_lost() -> None:
    quiet = replace(CLEAN, samples=())
    assert _kinds(replace(quiet, dead_letters=(LETTER_FAILED,))) == ["lost"]


@pytest.mark.parametrize(
    "second",
    [
        replace(OUTCOMES[0], at=Place(RESULTS, 0, 9), status="EXPIRED", code="expired"),
        replace(OUTCOMES[1], at=Place(RESULTS, 0, 9), code="busy"),
    ],
    ids=["status", "code"],
)
def test_two_distinct_outcomes_are_seen(second: Outcome) -> None:
    evidence = replace(CLEAN, outcomes=(*OUTCOMES, second))
    assert _kinds(evidence) == ["contradicting"]


def test_two_codes_for_an_unreadable_record_are_seen() -> None:
    second = replace(LETTER_UNREADABLE, at=Place(LETTERS, 0, 9), code="empty_value")
    evidence = replace(CLEAN, dead_letters=(*CLEAN.dead_letters, second))
    assert _kinds(evidence) == ["contradicting"]


def test_an_outcome_of_no_record_is_seen() -> None:
    assert _kinds(replace(CLEAN, outcomes=(*OUTCOMES, _outcome(3, "x", 77)))) == ["stray"]


def test_an_outcome_of_another_record_is_seen() -> None:
    crossed = (replace(OUTCOMES[0], request_id="failed"), *OUTCOMES[1:])
    assert "stray" in _kinds(replace(CLEAN, outcomes=crossed))


def test_exactly_once_repeats_nothing() -> None:
    once = replace(CLEAN, delivery=Delivery.EXACTLY_ONCE)
    assert _kinds(once) == []
    repeat = replace(OUTCOMES[0], at=Place(RESULTS, 0, 9))
    assert _kinds(replace(once, outcomes=(*OUTCOMES, repeat))) == ["repeated"]
    letter = replace(LETTER_FAILED, at=Place(LETTERS, 0, 9))
    assert _kinds(replace(once, dead_letters=(*CLEAN.dead_letters, letter))) == ["repeated"]


def test_at_least_once_a_repeat_needs_a_fault_where_the_faults_are_known() -> None:
    repeat = replace(OUTCOMES[0], at=Place(RESULTS, 0, 9))
    counted = replace(CLEAN, outcomes=(*OUTCOMES, repeat))
    assert judge(counted).counts["repeated"] == 1
    assert _kinds(counted) == []
    assert _kinds(replace(counted, faults=())) == ["repeated"]
    assert _kinds(replace(counted, faults=(Fault("kill", 0.0, 0),))) == []


@pytest.mark.parametrize(
    ("code", "outcome", "kinds"),
    [
        ("", OUTCOMES[0], []),
        ("", EXPIRED, ["untrue"]),
        ("", None, ["untrue"]),
        (None, OUTCOMES[0], ["untold"]),
        ("busy", None, []),
        ("expired", EXPIRED, []),
        ("expired", OUTCOMES[0], ["untrue"]),
        ("expired", replace(OUTCOMES[0], appended=50.0), []),
        ("unknown_model", OUTCOMES[0], ["untrue"]),
        ("broker_unreachable", OUTCOMES[0], []),
    ],
)
def test_what_a_caller_was_told_is_what_results_says(
    code: str | None, outcome: Outcome | None, kinds: list[str]
) -> None:
    outcomes = (outcome, *OUTCOMES[1:]) if outcome else ()
    told = (Told("good" if outcome else "", code, "told", at=40.0),)
    evidence = replace(CLEAN, outcomes=outcomes or OUTCOMES, told=told, samples=())
    assert _kinds(evidence) == kinds


def test_an_outcome_may_lie_behind_an_open_transaction_when_a_wait_ends() -> None:
    told = (Told("good", "expired", "told", at=40.0),)
    evidence = replace(CLEAN, delivery=Delivery.EXACTLY_ONCE, told=told, samples=())
    outcomes = (replace(OUTCOMES[0], appended=20.0), *OUTCOMES[1:])
    assert _kinds(replace(evidence, outcomes=outcomes)) == []
    outcomes = (replace(OUTCOMES[0], appended=17.0), *OUTCOMES[1:])
    assert _kinds(replace(evidence, outcomes=outcomes)) == ["untrue"]


def test_a_caller_whose_record_has_no_outcome_is_lost() -> None:
    told = (Told("failed", "broker_unreachable", "told", at=40.0),)
    left = (OUTCOMES[0], OUTCOMES[2])
    evidence = replace(CLEAN, expected=(), outcomes=left, told=told, samples=())
    assert _kinds(evidence) == ["lost"]


def test_a_failure_without_its_dead_letter_is_seen() -> None:
    assert _kinds(replace(CLEAN, dead_letters=(LETTER_UNREADABLE,))) == ["unlettered"]
    other = replace(LETTER_FAILED, code="worker_timeout")
    assert _kinds(replace(CLEAN, dead_letters=(other, LETTER_UNREADABLE))) == ["unlettered"]


@pytest.mark.parametrize(
    ("code", "told", "kinds"),
    [
        ("invalid_input", True, []),
        ("invalid_input", False, ["unlettered"]),
        ("worker_crash", True, ["unlettered"]),
    ],
)
def test_what_a_gateways_caller_got_wrong_needs_no_dead_letter(
    code: str, told: bool, kinds: list[str]
) -> None:
    requests = (GOOD, replace(FAILED, told=told), *REQUESTS[2:])
    outcomes = (OUTCOMES[0], replace(OUTCOMES[1], code=code), OUTCOMES[2])
    evidence = replace(
        CLEAN, requests=requests, outcomes=outcomes, dead_letters=(LETTER_UNREADABLE,)
    )
    assert _kinds(evidence) == kinds


@pytest.mark.parametrize("change", [{"sha256": digest(b"other")}, {"sha256": None}, {"key": None}])
def test_altered_bytes_are_seen(change: dict[str, Any]) -> None:
    altered = replace(LETTER_FAILED, **change)
    assert _kinds(replace(CLEAN, dead_letters=(altered, LETTER_UNREADABLE))) == ["altered"]


def test_of_a_letter_that_is_cut_the_digest_counts() -> None:
    cut = replace(LETTER_FAILED, key=None, cut=True)
    assert _kinds(replace(CLEAN, dead_letters=(cut, LETTER_UNREADABLE))) == []
    other = replace(cut, sha256=digest(b"other"))
    assert _kinds(replace(CLEAN, dead_letters=(other, LETTER_UNREADABLE))) == ["altered"]


def test_a_record_other_than_the_one_sent_is_seen() -> None:
    other = replace(_expected(FAILED), sha256=digest(b"what was sent"))
    assert _kinds(replace(CLEAN, expected=(other,))) == ["altered"]


@pytest.mark.parametrize("change", [{"source": None}, {"code": ""}])
def test_a_dead_letter_that_does_not_tell_is_seen(change: dict[str, Any]) -> None:
    mute = replace(LETTER_FAILED, at=Place(LETTERS, 0, 9), **change)
    assert _kinds(replace(CLEAN, dead_letters=(*CLEAN.dead_letters, mute))) == ["headers"]


@pytest.mark.parametrize(
    ("samples", "passed"),
    [
        ((_sample(1, 0, 0), _sample(4, 3, 2)), "@0"),  # ahead for one sample
        ((_sample(2, 1, 2),), "@1"),
        ((_sample(3, 2, 1),), "@2"),  # by id on results, by place on dead letters
        ((_sample(4, 2, 2),), "@3"),
        ((_sample(2, 1, 2), _sample(0, 3, 2)), "@1"),  # a commit taken back was still one
    ],
)
def test_a_commit_ahead_of_an_outcome_is_seen(samples: tuple[Sample, ...], passed: str) -> None:
    violations = judge(replace(CLEAN, samples=samples)).violations
    assert [v.kind for v in violations] == ["commit"]
    assert passed in violations[0].what


def test_the_first_of_two_repeats_is_what_counts_for_a_commit() -> None:
    repeat = replace(OUTCOMES[0], at=Place(RESULTS, 0, 9))
    evidence = replace(CLEAN, outcomes=(repeat, *OUTCOMES))
    assert judge(evidence).violations == ()


def test_commits_of_partitions_without_records_are_fine() -> None:
    sample = Sample({("m.requests.low", 7): 0}, {(RESULTS, 0): 3, (LETTERS, 0): 2})
    assert judge(replace(CLEAN, samples=(sample,))).violations == ()


def test_what_was_handed_on_is_owed_where_it_was_handed_to() -> None:
    """The first record is passed by commits at once, the second only with the outcome."""
    first = _request(0, "good")
    again = replace(first, place=Place(LANE, 1, 0), origin=first.place)
    samples = (
        Sample({(LANE, 0): 1, (LANE, 1): 0}, {(RESULTS, 0): 0}),
        Sample({(LANE, 0): 1, (LANE, 1): 1}, {(RESULTS, 0): 1}),
    )
    clean = Evidence((_expected(first),), (first, again), (_outcome(0, "good", 0),), (), samples)
    assert judge(clean).violations == ()
    early = (replace(samples[0], committed={(LANE, 0): 1, (LANE, 1): 1}), samples[1])
    (found,) = judge(replace(clean, samples=early)).violations
    assert found.kind == "commit"
    assert judge(replace(clean, outcomes=())).counts["lost"] == 1


AGAIN = replace(_request(4, "failed"), run=2)
MENDED = replace(_outcome(3, "failed", 4), run=2)
REPLAYED = replace(
    CLEAN, requests=(*REQUESTS, AGAIN), outcomes=(*OUTCOMES, MENDED), samples=CLEAN.samples[:-1]
)


def test_a_replay_is_a_run_with_an_outcome_of_its_own() -> None:
    assert _kinds(REPLAYED) == []
    lost = replace(REPLAYED, outcomes=OUTCOMES)
    assert _kinds(lost) == ["lost"]
    first_again = replace(REPLAYED, outcomes=(*OUTCOMES, replace(MENDED, run=1)))
    assert _kinds(first_again) == ["stray"]
    two_ends = replace(REPLAYED, outcomes=(*OUTCOMES, MENDED, replace(MENDED, status="EXPIRED")))
    assert _kinds(two_ends) == ["contradicting"]


def test_no_run_above_the_first_is_there_twice() -> None:
    twin = replace(AGAIN, place=_place(5))
    mended = replace(MENDED, source=twin.place)
    both = replace(
        REPLAYED,
        requests=(*REPLAYED.requests, twin),
        outcomes=(*REPLAYED.outcomes, mended),
    )
    assert _kinds(both) == ["contradicting"]


@pytest.mark.parametrize(
    ("code", "at", "kinds"),
    [
        ("", 40.0, []),
        ("worker_crash", 40.0, ["untrue"]),
        ("worker_crash", 31.0, []),  # the second run had ended, and may not have been read yet
        ("", 31.0, []),
    ],
)
def test_a_caller_is_told_the_highest_run(code: str, at: float, kinds: list[str]) -> None:
    first = replace(OUTCOMES[1], appended=10.0)
    second = replace(MENDED, appended=30.0)
    told = (Told("failed", code, "told", at=at),)
    outcomes = (OUTCOMES[0], first, OUTCOMES[2], second)
    assert _kinds(replace(REPLAYED, outcomes=outcomes, told=told, samples=())) == kinds


def test_what_was_put_off_is_what_was_read_before() -> None:
    first = _request(0, "good")
    there = Place("m.retry.30s", 1, 0)
    again = replace(first, place=there, origin=first.place, before=first.place, retries=1)
    clean = Evidence((_expected(first),), (first, again), (_outcome(0, "good", 0),), ())
    assert judge(clean).violations == ()
    assert judge(clean).counts["retries"] == 1
    for wrong in (replace(again, retries=2), replace(again, sha256="other")):
        (found,) = judge(replace(clean, requests=(first, wrong))).violations
        assert found.kind in ("retried", "altered")


def test_a_place_from_where_it_was_put_off_again_may_be_passed() -> None:
    first = _request(0, "good")
    soon, later = Place("m.retry.30s", 0, 5), Place("m.retry.5m", 0, 0)
    one = replace(first, place=soon, origin=first.place, before=first.place, retries=1)
    two = replace(one, place=later, before=soon, retries=2)
    sample = Sample({(LANE, 0): 1, soon[:2]: 6}, {(RESULTS, 0): 0})
    evidence = Evidence(
        (_expected(first),), (first, one, two), (_outcome(0, "good", 0),), (), (sample,)
    )
    assert judge(evidence).violations == ()
    (found,) = judge(replace(evidence, requests=(first, one))).violations
    assert found.kind == "commit"


@pytest.mark.parametrize(("code", "kinds"), [("cancelled", []), ("worker_crash", ["stray"])])
def test_what_was_not_judged_may_be_run_anew(code: str, kinds: list[str]) -> None:
    first, second = _request(0, "good"), _request(1, "good")
    letter = _letter(0, first, code)
    ended = replace(_outcome(0, "good", 0), status="FAILED", code=code)
    anew = replace(_outcome(1, "good", 1), run=2)
    evidence = Evidence((_expected(first),), (first, second), (ended, anew), (letter,))
    assert _kinds(evidence) == kinds


def test_of_two_records_that_failed_alike_one_leaves_a_letter() -> None:
    first, second = _request(0, "bad"), _request(1, "bad")
    failed = replace(_outcome(0, "bad", 0), status="FAILED", code="worker_crash")
    again = replace(failed, at=_outcome(1, "bad", 1).at, source=second.place)
    letters = (_letter(0, first, "worker_crash"),)
    evidence = Evidence((_expected(first),), (first, second), (failed, again), letters)
    assert _kinds(evidence) == []
    assert _kinds(replace(evidence, dead_letters=())) == ["unlettered"] * 2
