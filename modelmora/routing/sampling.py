"""Outcomes of two versions kept by the step of a route that chose them, to be judged; pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from modelmora.errors import Code
from modelmora.messages import ResultHead
from modelmora.routing.canary import Seen

MOST = 20_000
"""Outcomes of a version that are kept of a step; the oldest go."""
MOST_STEPS = 3
"""The one that counts, the one before, and one that is about to."""
SHARED = "weights since "
_ALONE = -1
_UNBLAMED = frozenset(
    {
        Code.CANCELLED,
        Code.STOPPED,
        Code.BUSY,
        Code.STARTING,
        Code.STOPPING,
        Code.FORBIDDEN,
        Code.RATE_LIMITED,
        Code.ID_REUSED,
    }
)
"""What speaks of a caller's wish or right, or of the node: no version is the better for it."""


class Sample(NamedTuple):
    """What counts of an outcome; the latency is in ms, without the time to load the model."""

    failed: bool
    latency_ms: float
    made_ms: int


Samples = OrderedDict[str, Sample]


class Sampling:
    """The outcomes of a name whose route is shared out in steps.

    Of an id the first one counts, however often it is told. What was chosen by a rule says nothing
    of both, for it is not the same that is asked; what one version alone could answer does not say
    why, and counts where it is asked for.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._steps: OrderedDict[int, dict[str, Samples]] = OrderedDict()
        self._alone: dict[str, Samples] = {}

    def take(self, result: ResultHead, made_ms: int) -> None:
        """Take one more; `made_ms` is when its request was made (Unix ms)."""
        if result.model != self.name or not result.version:
            return
        if result.error and result.error.code in _UNBLAMED:
            return
        since_ms = _step_of(result)
        if since_ms is None:
            return
        kept = self._kept(since_ms).setdefault(result.version, OrderedDict())
        if result.request_id in kept:
            return
        latency_ms = max(0.0, result.timings.total_ms - result.timings.load_ms)
        kept[result.request_id] = Sample(result.error is not None, latency_ms, made_ms)
        if len(kept) > MOST:
            kept.popitem(last=False)

    def seen(self, version: str, since_ms: int) -> Seen:
        """What a version has answered by the weights that count since then."""
        return _seen([*self._steps.get(since_ms, {}).get(version, {}).values()])

    def seen_alone(self, version: str, since_ms: int) -> Seen:
        """What a version has answered of what was made since then, where there was no choice."""
        kept = self._alone.get(version, Samples())
        return _seen([each for each in kept.values() if each.made_ms >= since_ms])

    def _kept(self, since_ms: int) -> dict[str, Samples]:
        if since_ms == _ALONE:
            return self._alone
        if since_ms not in self._steps:
            self._steps[since_ms] = {}
            if len(self._steps) > MOST_STEPS:
                del self._steps[min(self._steps)]
        return self._steps.get(since_ms, {})


def _step_of(result: ResultHead) -> int | None:
    """The step whose weights chose its version, -1 where only one could; None: a rule did."""
    why = result.settings.get("route")
    if why is None:
        return _ALONE
    since = why.removeprefix(SHARED) if isinstance(why, str) and why.startswith(SHARED) else ""
    return int(since) if since.isascii() and since.isdecimal() and len(since) < 16 else None


def _seen(samples: list[Sample]) -> Seen:
    failed = sum(each.failed for each in samples)
    return Seen(len(samples), failed, sorted(e.latency_ms for e in samples if not e.failed))
