"""Outcomes of both versions: what lies on `compare` and `results`, and what comes there."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from modelmora.comparing import Pairing, Sample
from modelmora.errors import Undecodable
from modelmora.kafka.reading.reader import Place, Record
from modelmora.kafka.reading.shown import Reader
from modelmora.kafka.topics import Topic
from modelmora.messages import InferenceResult, Status
from modelmora.messages.headers import COMPARISON, SHADOW_OF
from modelmora.settings import Settings
from modelmora.trials.versions import Trial
from modelmora.wire import decode_result
from modelmora.wire.ids import shadow_id

MOST_BYTES = 256 << 20
"""Of all outcomes that are held at once."""


@dataclass(frozen=True, slots=True)
class Copied:
    """The outcome of a copy."""

    original: str
    result: InferenceResult


class Outcomes:
    """Outcomes of the two versions of a trial, as a reader finds them."""

    def __init__(self, reader: Reader, settings: Settings, trial: Trial) -> None:
        self._reader = reader
        self._trial = trial
        self._compare = Topic.COMPARE.full(settings.namespace)
        self._results = Topic.RESULTS.full(settings.namespace)

    def answered(self) -> set[str]:
        """The ids that the baseline has answered to callers, as far as that is kept."""
        return {found.request_id for found in self._of_callers()}

    def take_answered(
        self, pairing: Pairing, wanted: Container[str], *, completed: bool = False
    ) -> None:
        """Give the baseline's outcomes of these ids, as callers got them; all or `completed`."""
        for found in self._of_callers():
            if found.request_id in wanted and (found.status is Status.COMPLETED or not completed):
                pairing.baseline(found.request_id, found)

    def sample(
        self, comparison: str, most: int, known: Container[str]
    ) -> tuple[Sample[Copied], int]:
        """At most so many of the candidate's outcomes of a comparison, chosen evenly by id.

        Only of ids that are `known`; of how many that are not there are outcomes, too.
        """
        sample, unknown = Sample[Copied](most, MOST_BYTES), 0
        for record, copied in self._read(self._starts(), comparison):
            if not self._is_of(copied, self._trial.candidate.version):
                continue
            if copied.original in known:
                sample.offer(copied.original, len(record.value or b""), copied)
            else:
                unknown += 1
        return sample, unknown

    def take_copied(self, pairing: Pairing, comparison: str) -> None:
        """Give all outcomes of a comparison that lie there."""
        for _, copied in self._read(self._starts(), comparison):
            self.take(pairing, copied)

    def take(self, pairing: Pairing, copied: Copied) -> str | None:
        """Give one; its copy's id, or None where it is of neither version."""
        if self._is_of(copied, self._trial.candidate.version):
            pairing.candidate(copied.original, copied.result)
        elif self._is_of(copied, self._trial.baseline.version):
            pairing.baseline(copied.original, copied.result, alone=True)
        else:
            return None
        return copied.result.request_id

    def ends(self) -> dict[Place, int]:
        """Where what comes from now on will lie."""
        return self._reader.ends(self._reader.places(self._compare))

    def follow(
        self,
        starts: Mapping[Place, int],
        comparison: str,
        wanted: set[str],
        pairing: Pairing,
        until: Callable[[], bool],
    ) -> Iterator[int]:
        """Give what comes until all `wanted` copies have ended, or it is time; how many are left.

        What has come is taken out of `wanted`.
        """
        for record in self._reader.follow(starts):
            if record and (copied := self._copied(record, comparison)):
                wanted.discard(self.take(pairing, copied) or "")
            yield len(wanted)
            if not wanted or until():
                return

    def _starts(self) -> dict[Place, int]:
        return self._reader.since(self._reader.places(self._compare), None)

    def _read(
        self, starts: Mapping[Place, int], comparison: str
    ) -> Iterator[tuple[Record, Copied]]:
        for record in self._reader.read(starts):
            if copied := self._copied(record, comparison):
                yield record, copied

    def _copied(self, record: Record, comparison: str) -> Copied | None:
        original = record.header(SHADOW_OF)
        if not original or record.header(COMPARISON) != comparison:
            return None
        with suppress(Undecodable):
            return Copied(original, decode_result(record.plain))
        return None

    @staticmethod
    def _is_of(copied: Copied, version: str) -> bool:
        """By the copy's own id: one that was refused may name no version."""
        return copied.result.request_id == shadow_id(copied.original, version)

    def _of_callers(self) -> Iterator[InferenceResult]:
        baseline = self._trial.baseline
        needle = baseline.name.encode()
        places = self._reader.places(self._results)
        for record in self._reader.read(self._reader.since(places, None)):
            # Those of other models are many, and need not be decoded.
            if needle not in (record.plain or b""):
                continue
            with suppress(Undecodable):
                found = decode_result(record.plain)
                if (found.model, found.version) == (baseline.name, baseline.version):
                    yield found


def deadline(seconds: float) -> Callable[[], bool]:
    """Whether so long has passed from now on."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end
