"""A comparison from its beginning to its report: of what a live shadow left, or of the past."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import uuid4

from modelmora.access.secrets import signer_of
from modelmora.comparing import Asked, Comparison, Pairing, Report
from modelmora.errors import ModelMoraError, NotFound, RequestError, Undecodable
from modelmora.kafka.reading.reader import Place
from modelmora.kafka.reading.shown import Reader
from modelmora.kafka.writing.outbox import Record
from modelmora.kafka.writing.straight import write
from modelmora.messages.headers import LIVE
from modelmora.settings import Settings
from modelmora.text import iso
from modelmora.trials.copies import copy_of
from modelmora.trials.outcomes import Outcomes, deadline
from modelmora.trials.past import Past, asked
from modelmora.trials.versions import Trial, Version, read_trial
from modelmora.wire.ids import shadow_id

NOT_KEPT = "the baseline's outcome is not kept"
NOT_YET = "no outcome has come"
UNREAD = "cannot be asked again"
Told = Callable[[int, str], None]
"""Is told how much is done of what, for a person who waits."""


def found(reader: Reader, settings: Settings, trial: Trial, comparison: str, most: int) -> Report:
    """What lies there of a comparison: that of the live shadow, or one from before by its id.

    Of the live one the baseline's outcomes are those that callers got. Raises NotFound.
    """
    outcomes = Outcomes(reader, settings, trial)
    pairing = Pairing()
    if comparison == LIVE:
        known = outcomes.answered()
        sample, not_kept = outcomes.sample(comparison, most, known)
        for original, copied in sample.kept().items():
            pairing.candidate(original, copied.result)
        outcomes.take_answered(pairing, pairing.candidates)
    else:
        outcomes.take_copied(pairing, comparison)
        outcomes.take_answered(pairing, pairing.candidates - pairing.baselines)
        not_kept = len(pairing.candidates - pairing.baselines)
    if not pairing.candidates and not not_kept:
        raise _nothing(trial, comparison)
    return _report(_asked(trial, comparison), pairing, {NOT_KEPT: not_kept})


def _nothing(trial: Trial, comparison: str) -> NotFound:
    name, model = trial.candidate.name, trial.candidate.model
    if comparison != LIVE:
        return NotFound(
            f"no outcome of {model} in comparison {comparison} lies there; they are kept 24 h"
        )
    return NotFound(
        f"no shadow of {model} has left an outcome; have requests copied by `modelmora routes set "
        f"{name} ... --shadow {trial.candidate.version}=10`, or ask past ones again by --since 1h"
    )


@dataclass(frozen=True, slots=True)
class Wish:
    """What of the past is asked again: of a time (Unix ms), how many, and how long to wait (s).

    `fresh`: the baseline is asked again too where its outcome is kept.
    """

    span: tuple[int, int]
    count: int
    wait_s: float
    fresh: bool = False


@dataclass(slots=True)
class Replay:
    """Past requests, asked again of the candidate: chosen, written, awaited, reported."""

    reader: Reader
    settings: Settings
    trial: Trial
    wish: Wish
    comparison: str = field(default_factory=lambda: uuid4().hex[:12])
    cut: bool = False
    """Whether the requests were too large for so many of them."""
    _pairing: Pairing = field(default_factory=Pairing)
    _past: dict[str, Past] = field(default_factory=dict)
    """What was chosen; each is given up once its copies are made."""
    _chosen: frozenset[str] = frozenset()
    _plan: dict[str, tuple[Version, ...]] = field(default_factory=dict)
    """For which versions copies are to be made of each."""
    _wanted: set[str] = field(default_factory=set)
    """The ids of the copies that were made and have not ended."""
    _starts: Mapping[Place, int] = field(default_factory=dict)
    _unread: set[str] = field(default_factory=set)
    _not_kept: set[str] = field(default_factory=set)

    def choose(self) -> int:
        """Choose requests; how many copies are to be made. Raises NotFound, ModelMoraError."""
        wish, trial = self.wish, self.trial
        trial.candidate.must_be_served()
        sample = asked(self.reader, self.settings, trial.candidate.name, wish.span, wish.count)
        self._past, self.cut = sample.kept(), sample.cut
        if not self._past:
            since, until = map(iso, wish.span)
            raise NotFound(
                f"nothing was asked of {trial.candidate.name} from {since} to {until}; requests "
                "are kept 24 h"
            )
        if not wish.fresh:
            self._take_kept()
        self._chosen = frozenset(self._past)
        missing = self._chosen - self._pairing.baselines
        if missing and trial.baseline.unserved is not None:
            if not self._pairing.baselines:
                trial.baseline.must_be_served()
            self._not_kept, missing = set(missing), frozenset()
        both = (trial.candidate, trial.baseline)
        self._plan = {each: both if each in missing else both[:1] for each in sorted(self._chosen)}
        return sum(map(len, self._plan.values()))

    @property
    def requests(self) -> int:
        """How many requests were chosen."""
        return len(self._chosen)

    def write(self, told: Told) -> None:
        """Write the copies. Raises Unreachable, WrongCredentials, NotAllowed."""
        self._starts = Outcomes(self.reader, self.settings, self.trial).ends()
        write(self.settings, self._copies(), lambda done: told(0, f"{done} written"))

    def wait(self, told: Told) -> None:
        """Wait until all outcomes have come, or it is time; may be interrupted."""
        total = len(self._wanted)
        outcomes = Outcomes(self.reader, self.settings, self.trial)
        until = deadline(self.wish.wait_s)
        for left in outcomes.follow(
            self._starts, self.comparison, self._wanted, self._pairing, until
        ):
            told(total - left, f"{total - left} of {total} ended")
        with suppress(ModelMoraError):
            # What is measured of a version is told once it has run.
            baseline, candidate = self.trial.baseline.model, self.trial.candidate.model
            self.trial = read_trial(self.reader, self.settings, candidate, baseline)

    def report(self) -> Report:
        """What has come so far says."""
        came = self._pairing.candidates & self._pairing.baselines
        unread = self._unread - came
        not_kept = self._not_kept - unread
        left_out = {
            UNREAD: len(unread),
            NOT_KEPT: len(not_kept),
            NOT_YET: len(self._chosen - came - unread - not_kept),
        }
        return _report(_asked(self.trial, self.comparison, self.wish), self._pairing, left_out)

    def _take_kept(self) -> None:
        """Take the baseline's outcomes as callers got them; what failed is asked again."""
        outcomes = Outcomes(self.reader, self.settings, self.trial)
        outcomes.take_answered(self._pairing, self._past, completed=True)

    def _copies(self) -> Iterator[Record]:
        """Make the copies, of one request after the other, so that there are pairs soon.

        What cannot be read any more has none.
        """
        signer = signer_of(self.settings)
        for original, versions in self._plan.items():
            past = self._past.pop(original)
            try:
                for each in versions:
                    record = copy_of(past, each, self.comparison, self.settings, signer)
                    self._wanted.add(shadow_id(original, each.version))
                    yield record
            except (Undecodable, RequestError):
                self._unread.add(original)


def _asked(trial: Trial, comparison: str, wish: Wish | None = None) -> Asked:
    baseline, candidate = trial.baseline, trial.candidate
    since_ms, until_ms = wish.span if wish else (None, None)
    return Asked(
        baseline.model,
        candidate.model,
        comparison,
        since_ms,
        until_ms,
        wish.count if wish else None,
        candidate.task,
        (baseline.needs, candidate.needs),
    )


def _report(asked: Asked, pairing: Pairing, left_out: Mapping[str, int]) -> Report:
    comparison = Comparison(asked)
    for pair in pairing.pairs():
        comparison.take(*pair)
    for why, count in left_out.items():
        if count > 0:
            comparison.leave_out(why, count)
    return comparison.report()
