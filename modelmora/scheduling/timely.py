"""Which works of a group are begun: what will be late is not worth a child's time."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from modelmora.scheduling.expected import Runs
from modelmora.scheduling.line.work import Work

_SPARE = 0.1


def in_time(
    works: Sequence[Work], runs: Runs, now: float, begins_s: float = 0.0
) -> tuple[tuple[Work, ...], tuple[Work, ...]]:
    """Those that are to be begun as one group, and those that would end behind their deadline.

    `begins_s`: what the child has to do before, in seconds.

    (1) Each ends when those before it have, and it has taken what it is expected to; they may take
        a little longer, and then all behind them would be late that are just in time.
    (2) Without a deadline, or where nobody knows what it takes, it is begun.
    (3) What is expected may be wrong, so now and then one is begun all the same; see `Runs.trust`.
    """
    begun: list[Work] = []
    late: list[Work] = []
    trusted: dict[Hashable, bool] = {}
    ahead_s = begins_s
    for work in works:
        # (1)
        ends = now + ahead_s * (1 + _SPARE) + work.cost / 1000
        # (2)
        if work.deadline is not None and ends > work.deadline and work.cost:
            # (3)
            if work.shape not in trusted:
                trusted[work.shape] = runs.trust(work.shape)
            if trusted[work.shape]:
                late.append(work)
                continue
            trusted[work.shape] = True
        begun.append(work)
        ahead_s += work.cost / 1000
    return tuple(begun), tuple(late)
