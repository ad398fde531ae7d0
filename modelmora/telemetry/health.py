"""The one place that says whether a process is well: signs in, a verdict out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf

from prometheus_client import Metric
from prometheus_client.registry import Collector

from modelmora.telemetry.metrics import family
from modelmora.text import duration


@dataclass(frozen=True, slots=True)
class Sign:
    """One thing that health is judged by; `check` is what it speaks for, such as `broker`.

    Either `fault` says what is known to be wrong, or `age_s` is for how long something has been
    owed, which is wrong from `limit_s` on: `late` says what. Without what is not `needed`, requests
    are served all the same, or most of them.
    """

    check: str
    fault: str | None = None
    age_s: float = 0.0
    limit_s: float = inf
    late: str = ""
    age_of: str = ""
    """The name of the age, where it is told."""
    needed: bool = True

    @property
    def why(self) -> str | None:
        """What is wrong, None where nothing is."""
        if self.fault is None and self.age_s >= self.limit_s:
            return f"{self.late} for {duration(1000 * self.age_s)}"
        return self.fault


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a process is.

    `why` and `degraded` say what is wrong first, by check: of what is needed, and of what is not.
    `faults` is all that is wrong of what is needed. `ages` are in seconds.
    """

    faults: tuple[str, ...]
    checks: Mapping[str, bool]
    why: Mapping[str, str]
    degraded: Mapping[str, str]
    ages: Mapping[str, float]

    @property
    def ready(self) -> bool:
        """Whether a request would be served now."""
        return not self.faults


def judge(signs: Iterable[Sign]) -> Verdict:
    """What the signs say together: a check is well where all of its signs are."""
    faults: list[str] = []
    checks: dict[str, bool] = {}
    why: dict[str, str] = {}
    degraded: dict[str, str] = {}
    ages: dict[str, float] = {}
    for sign in signs:
        fault = sign.why
        if sign.age_of:
            ages[sign.age_of] = round(sign.age_s, 1)
        if sign.needed:
            checks[sign.check] = checks.get(sign.check, True) and fault is None
            faults += [fault] if fault else []
        if fault is not None:
            (why if sign.needed else degraded).setdefault(sign.check, fault)
    return Verdict(tuple(faults), checks, why, degraded, ages)


class HealthCollector(Collector):
    """The verdict as gauges; ages in whole seconds, so that nothing is told while all is well."""

    def __init__(self, look: Callable[[], Verdict]) -> None:
        self._look = look
        self._degraded: set[str] = set()
        """Checks of what is not needed that were unwell at any time: that they are well is told."""

    def describe(self) -> Iterator[Metric]:
        """Nothing: there may be no verdict yet."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """What is well, and how old is what is owed."""
        verdict = self._look()
        self._degraded |= verdict.degraded.keys()
        needed = [((check,), float(well)) for check, well in verdict.checks.items()]
        others = [((each,), float(each not in verdict.degraded)) for each in sorted(self._degraded)]
        yield family("modelmora_healthy", [*needed, *others])
        ages = (((of,), float(int(age_s))) for of, age_s in verdict.ages.items())
        yield family("modelmora_age_seconds", ages)
