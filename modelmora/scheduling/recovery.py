"""Puts the work of a dead child back into its model's queue, as `retry.examine` judges it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from modelmora.errors import Code
from modelmora.scheduling.line.work import Work
from modelmora.scheduling.model import KillReason
from modelmora.scheduling.policy import Policy
from modelmora.scheduling.retry import Works, examine
from modelmora.scheduling.state import Replica


def recover(
    child: Replica,
    policy: Policy,
    numbers: Iterator[int],
    give_up: Callable[[Work, Code, str], None],
) -> bool:
    """Put back what is to be started anew, give up the rest; whether one was found guilty.

    A stepped child has worked on all its requests at once, so all are one group of suspects. Its
    halves are put back as cohorts: each runs apart from all others, see `Replica.takes_next`.
    Copies are not tried again: nobody waits for them.
    """
    stepped = child.model.spec.slots is not None
    groups: list[Works] = [tuple(run.open.values()) for run in child.runs.values()]
    child.runs.clear()
    if stepped:
        groups = [tuple(work for works in groups for work in works)]
    autopsy = examine(groups, policy)
    for works in autopsy.suspects:
        cohort = next(numbers) if stepped else 0
        for work in works:
            work.attempt += 1
            work.cohort = cohort
    if autopsy.solo:
        autopsy.solo.solo_crashes += 1
    for work in (work for works in autopsy.innocents for work in works):
        work.returns += 1
    back = [*autopsy.suspects, *autopsy.innocents]
    copies = [work for works in back for work in works if work.behind]
    back = [left for works in back if (left := tuple(one for one in works if not one.behind))]
    if stepped:
        back = [(work,) for works in back for work in works]
    for lane in child.model.queue.lanes:
        lane.put_back([works for works in back if works[0].lane is lane.lane])
    for work in (work for works in back for work in works):
        work.group = None
    for work in copies:
        give_up(work, Code.WORKER_CRASH, "the worker died while it had this copy")
    if autopsy.guilty:
        hung = child.reason is KillReason.RUN_TIMEOUT
        code = Code.WORKER_TIMEOUT if hung else Code.WORKER_CRASH
        what = "did not answer in time" if hung else "died"
        give_up(autopsy.guilty, code, f"the worker {what} whenever it ran this request")
    for work in autopsy.spent:
        give_up(work, Code.RETRIES_SPENT, "its workers died too often before its turn")
    return autopsy.guilty is not None
