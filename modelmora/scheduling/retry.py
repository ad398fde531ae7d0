"""What becomes of started work when its child dies: find the poison, spare its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modelmora.scheduling.line.work import Work
from modelmora.scheduling.policy import Policy

Works = tuple[Work, ...]


@dataclass(frozen=True, slots=True)
class Autopsy:
    """Who is started anew and who is given up.

    suspects: groups to put back first, in order; each of their works counts one more attempt.
    solo: the one work that was alone in the child when it died, among `suspects` or `guilty`.
    innocents: groups to put back behind the suspects, untouched.
    guilty: the work that brought its child down alone too often.
    spent: innocents that have been handed back too often.
    """

    suspects: tuple[Works, ...] = ()
    solo: Work | None = None
    innocents: tuple[Works, ...] = ()
    guilty: Work | None = None
    spent: Works = ()


def examine(unfinished: Sequence[Works], policy: Policy) -> Autopsy:
    """Judge the groups of a dead child, in the order they were handed over.

    Each is given as its works without an answer, which may be none. A child works in order, so
    only the first group can be to blame. A group of n with one poison costs at most
    ceil(log2 n) + `solo_crashes` children, since halves are never merged again.

    (1) The first group has more than one work left: two halves, order kept.
    (2) It has one left, for the first time(s): once more, alone.
    (3) It has one left, for the last time: guilty.
    (4) The other groups go back as they are, less the works that came back too often.
    """
    suspects: tuple[Works, ...] = ()
    solo: Work | None = None
    guilty: Work | None = None
    first = unfinished[0] if unfinished else ()
    # (1) Several suspects.
    if len(first) > 1:
        half = (len(first) + 1) // 2
        suspects = (first[:half], first[half:])
    elif first:
        solo = first[0]
        # (2) Once more.
        if solo.solo_crashes + 1 < policy.solo_crashes:
            suspects = (first,)
        # (3) Guilty.
        else:
            guilty = solo
    # (4) Innocent.
    others = [work for works in unfinished[1:] for work in works]
    spent = tuple(work for work in others if work.returns >= policy.returns)
    spared = (
        tuple(work for work in works if work.returns < policy.returns) for works in unfinished[1:]
    )
    innocents = tuple(works for works in spared if works)
    return Autopsy(suspects, solo, innocents, guilty, spent)
