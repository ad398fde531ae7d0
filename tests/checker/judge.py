"""The judgement: which delivery invariants the evidence breaks. Pure; see docs/architecture.md.

1. Every id of the file has an outcome, and every record that carries it has exactly one distinct
   outcome: equal id, run, status and code for one source (I1). A replay is a run of its own: no two
   records are the same run of an id above the first. An id asked again after it ended without
   being judged is its next run too.
2. A record without a readable id has a dead letter, all of one code (I1).
3. A failure that must be dead-lettered is, but for what a gateway's caller was told of its own
   content and for an id that was asked twice, of which one record is; every dead letter has the
   record's very bytes.
4. No sample's committed offset passes a request that had no outcome in the log then (I2), unless
   it was handed on: then that holds for the record which did that.
5. Every repeated outcome has its crash, see `repeats.py` (I3); exactly once, there are none.
6. What was put off after a failure is what was read before, and tried at most once more
   than that.
7. Every caller was told something, and it is what `results` says of the highest run there was.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate

from tests.checker.evidence import (
    DeadLetter,
    Delivery,
    Evidence,
    Outcome,
    Partition,
    Place,
    Request,
    Sample,
    Told,
)
from tests.checker.repeats import repeated, unexplained

DEAD_LETTERED = frozenset(
    (
        "undecodable",
        "unknown_schema",
        "trailing_bytes",
        "empty_value",
        "null_value",
        "too_large",
        "unknown_model",
        "unknown_parameter",
        "invalid_input",
        "worker_crash",
        "worker_timeout",
        "out_of_memory",
        "retries_spent",
        "inference_failed",
        "store_unavailable",
    )
)
# Of these a caller who waited at a gateway was told, and they need no dead letter.
TOLD = DEAD_LETTERED - {
    "worker_crash",
    "worker_timeout",
    "out_of_memory",
    "retries_spent",
    "inference_failed",
    "store_unavailable",
}
# What the gateway says of a request that it did not write, or does not know to be written.
DOOR = frozenset(("busy", "stopping", "broker_unreachable", "no_node"))
EXPIRED = "expired"
UNJUDGED = frozenset(
    (
        "busy",
        "starting",
        "stopping",
        "model_unavailable",
        "cannot_be_served",
        EXPIRED,
        "cancelled",
        "stopped",
    )
)
# The gateway ends a caller's wait by itself; it cannot know of what was appended only now.
OVER = frozenset((EXPIRED, "cancelled"))
# An outcome in a transaction is there to be read when no older one is open before it: a frozen
# node holds up the others' for the transaction's time-out, and the broker looks each 10 s.
DELIVERY_S = {Delivery.AT_LEAST_ONCE: 2.0, Delivery.EXACTLY_ONCE: 22.0}


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise: `kind` is a stable word, `what` says which record."""

    kind: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Every violation, and counts for the summary.

    `lost`, `contradicting` and `repeated` are what I1 and I3 are about.
    """

    violations: tuple[Violation, ...]
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Index:
    requests: dict[Place, Request]
    by_id: dict[str, list[Request]]
    outcomes: dict[Place, list[Outcome]]
    letters: dict[Place, list[DeadLetter]]

    @classmethod
    def of(cls, evidence: Evidence) -> _Index:
        by_id: dict[str, list[Request]] = defaultdict(list)
        outcomes: dict[Place, list[Outcome]] = defaultdict(list)
        letters: dict[Place, list[DeadLetter]] = defaultdict(list)
        for request in evidence.requests:
            if request.origin is None:
                by_id[request.request_id].append(request)
        for outcome in evidence.outcomes:
            outcomes[outcome.source].append(outcome)
        for letter in evidence.dead_letters:
            if letter.source:
                letters[letter.source].append(letter)
        requests = {request.place: request for request in evidence.requests}
        return cls(requests, by_id, outcomes, letters)

    def answers(self, request: Request) -> list[Place]:
        """Where the outcomes of a request lie."""
        if request.request_id:
            source = request.origin or request.place
            return [found.at for found in self.outcomes.get(source, ())]
        return [found.at for found in self.letters.get(request.place, ())]


def judge(evidence: Evidence) -> Verdict:
    """Every violation in the evidence, ordered by check."""
    index = _Index.of(evidence)
    violations = [
        *_missing(evidence, index),
        *_distinct(index),
        *_dead_letters(evidence, index),
        *_commits(evidence.samples, index),
        *_repeats(evidence),
        *_retried(index),
        *_told(evidence, index),
    ]
    kinds = Counter(violation.kind for violation in violations)
    counts = {
        "expected": len(evidence.expected),
        "requests": len(evidence.requests),
        "outcomes": len(evidence.outcomes),
        "dead_letters": len(evidence.dead_letters),
        "told": len(evidence.told),
        "retries": sum(1 for each in evidence.requests if each.retries),
        "samples": len(evidence.samples),
        "lost": kinds["lost"],
        "contradicting": kinds["contradicting"],
        "repeated": len(repeated(evidence.outcomes)),
        "violations": len(violations),
        **{f"status.{k}": n for k, n in Counter(o.status for o in evidence.outcomes).items()},
    }
    return Verdict(tuple(violations), counts)


def _missing(evidence: Evidence, index: _Index) -> Iterator[Violation]:
    """Check 1 and 2, from the producers' side: nothing is lost, nothing was changed."""
    answered = {outcome.request_id for outcome in evidence.outcomes}
    for one in evidence.told:
        if one.request_id and one.request_id in index.by_id and one.request_id not in answered:
            yield Violation("lost", f"{one.request_id} has no outcome")
    for line in evidence.expected:
        if line.place:
            if not index.letters.get(line.place):
                yield Violation("lost", f"{line.place} has no dead letter")
            continue
        records = [r for r in index.by_id.get(line.request_id, ()) if r.place.topic == line.topic]
        if line.request_id not in answered:
            yield Violation("lost", f"{line.request_id} has no outcome")
        for request in records:
            if not index.outcomes.get(request.place) and line.request_id in answered:
                yield Violation("lost", f"{line.request_id} has no outcome of {request.place}")
        if records and all(request.sha256 != line.sha256 for request in records):
            yield Violation("altered", f"{line.request_id} is not on {line.topic} as it was sent")


def _distinct(index: _Index) -> Iterator[Violation]:
    """Check 1: one distinct outcome per record, and none without a record."""
    unjudged: dict[str, set[int]] = defaultdict(set)
    for outcome in (each for found in index.outcomes.values() for each in found):
        if outcome.code in UNJUDGED or outcome.again:
            unjudged[outcome.request_id].add(outcome.run)
    for source, found in index.outcomes.items():
        kinds = {(o.request_id, o.run, o.status, o.code) for o in found}
        if len(kinds) > 1:
            told = " and ".join(sorted(f"{i} {s} {c}".rstrip() for i, _, s, c in kinds))
            yield Violation("contradicting", f"{source} ended as {told}")
        request = index.requests.get(source)
        if request is None:
            yield Violation("stray", f"{found[0].request_id} ended, of no record at {source}")
        elif any(
            (o.request_id, o.run) != (request.request_id, request.run)
            and (o.request_id != request.request_id or o.run - 1 not in unjudged[o.request_id])
            for o in found
        ):
            what = f"{request.request_id!r}, run {request.run}"
            yield Violation("stray", f"{source} is {what}, its outcome is not")
    for request_id, records in index.by_id.items():
        runs = Counter(r.run for r in records if r.run > 1) if request_id else Counter[int]()
        for run, count in runs.items():
            if count > 1:
                yield Violation("contradicting", f"{request_id} has {count} records of run {run}")


def _dead_letters(evidence: Evidence, index: _Index) -> Iterator[Violation]:
    """Checks 2 and 3."""
    for letter in evidence.dead_letters:
        if letter.source is None or not letter.code:
            yield Violation("headers", f"the dead letter {letter.at} does not say whence or why")
            continue
        request = index.requests.get(letter.source)
        if request is None:
            yield Violation("stray", f"the dead letter {letter.at} has no record {letter.source}")
        elif request.sha256 != letter.sha256 or (request.key != letter.key and not letter.cut):
            yield Violation("altered", f"the dead letter {letter.at} is not {letter.source}")
    for source, letters in index.letters.items():
        request = index.requests.get(source)
        codes = sorted({letter.code for letter in letters})
        if request and not request.request_id and len(codes) > 1:
            yield Violation("contradicting", f"{source} is dead-lettered as {' and '.join(codes)}")
    for source, found in index.outcomes.items():
        request = index.requests.get(source)
        twins = {source, *(r.place for r in index.by_id.get(found[0].request_id, ()))}
        codes = sorted({letter.code for each in twins for letter in index.letters.get(each, ())})
        needed = DEAD_LETTERED - TOLD if request and request.told else DEAD_LETTERED
        for code in sorted({o.code for o in found if not o.again} & needed):
            if code not in codes:
                yield Violation("unlettered", f"{source} failed as {code} without a dead letter")


def _commits(samples: tuple[Sample, ...], index: _Index) -> Iterator[Violation]:
    """Check 4. Ends only rise, so the first sample that passes a request decides."""
    ends: dict[Partition, list[int]] = {}
    commits: dict[Partition, list[int]] = {}
    for partition in {p for sample in samples for p in sample.ends}:
        ends[partition] = list(accumulate((s.ends.get(partition, 0) for s in samples), max))
    for partition in {p for sample in samples for p in sample.committed}:
        each = (s.committed.get(partition, 0) for s in samples)
        commits[partition] = list(accumulate(each, max))
    found = index.requests.values()
    handed_on = {place for each in found for place in (each.origin, each.before)}
    for request in index.requests.values():
        place = request.place
        if place in handed_on:
            continue
        passed = bisect_right(commits.get(place[:2], []), place.offset)
        if passed >= len(commits.get(place[:2], [])):
            continue
        answers = [at for at in index.answers(request) if at[:2] in ends]
        seen = (bisect_right(ends[at[:2]], at.offset) for at in answers)
        answered = min(seen, default=len(samples))
        if answered > passed:
            what = f"{place} ({request.request_id or 'no id'}) was passed without an outcome"
            yield Violation("commit", f"{what} in sample {passed}")


def _repeats(evidence: Evidence) -> Iterator[Violation]:
    """Check 5."""
    if evidence.delivery is Delivery.EXACTLY_ONCE:
        found = repeated(evidence.outcomes)
        what = [f"{again.source} ended again at {again.at}" for _, again in found]
        letters = Counter(letter.source for letter in evidence.dead_letters)
        what += [
            f"{source} has {count} dead letters" for source, count in letters.items() if count > 1
        ]
    elif evidence.faults is not None:
        what = list(unexplained(evidence.outcomes, evidence.samples, evidence.faults))
    else:
        what = []
    yield from (Violation("repeated", each) for each in what)


def _retried(index: _Index) -> Iterator[Violation]:
    """Check 6."""
    for request in index.requests.values():
        before = index.requests.get(request.before) if request.before else None
        if before is None:
            continue
        if (before.sha256, before.run) != (request.sha256, request.run):
            yield Violation("altered", f"{request.place} is not {before.place}")
        if not 0 <= request.retries - before.retries <= 1:
            what = f"{request.place} was tried {request.retries} times, {before.retries} before"
            yield Violation("retried", what)


def _told(evidence: Evidence, index: _Index) -> Iterator[Violation]:
    """Check 7. What a door says of itself is no word on the outcome."""
    delivery_s = DELIVERY_S[evidence.delivery]
    first: dict[str, dict[int, Outcome]] = defaultdict(dict)
    for found in index.outcomes.values():
        for outcome in found:
            runs = first[outcome.request_id]
            if outcome.at < runs.setdefault(outcome.run, outcome).at:
                runs[outcome.run] = outcome
    for one in evidence.told:
        runs = first.get(one.request_id, {})
        known = [run for run, each in runs.items() if each.appended < one.at - delivery_s]
        # A higher one may have been met as well.
        held = [each for run, each in sorted(runs.items()) if run >= max(known, default=0)]
        ended = next((each for each in held if each.code == one.code), held[0] if held else None)
        if one.code is None:
            yield Violation("untold", f"{one.request_id or 'a caller'}: {one.what}")
        elif one.code in DOOR:
            continue
        elif one.code == EXPIRED:
            if ended and ended.appended < one.at - delivery_s and ended.code not in OVER:
                yield Violation("untrue", _untrue(one, ended))
        elif ended is None or ended.code != one.code:
            yield Violation("untrue", _untrue(one, ended))


def _untrue(told: Told, ended: Outcome | None) -> str:
    how = f"{ended.status} {ended.code}".rstrip() if ended else "without an outcome"
    return f"{told.request_id} was told {told.code or 'a result'} and ended {how}"
