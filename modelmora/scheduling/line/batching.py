"""Which works share a group: equal batch key, fair order, bounded by count and bytes."""

from __future__ import annotations

from modelmora.scheduling.line.strands import Preset, Strand, charged
from modelmora.scheduling.line.work import Work
from modelmora.scheduling.policy import Policy


def opens_at(first: Strand | Preset, policy: Policy) -> float:
    """When (monotonic s) the group of what is first may leave.

    (1) There is no wait, or a dying child gave the group back: at once.
    (2) The batch is full, by count or by bytes: at once.
    (3) Else when the oldest work of whose turn it is has waited `group_wait_s` for company.
    """
    # (1) Nothing to wait for.
    if policy.group_wait_s <= 0 or isinstance(first, Preset):
        return float("-inf")
    # (2) Full.
    batch = first.batch
    if batch.count >= policy.group_requests or batch.bytes >= policy.group_bytes:
        return float("-inf")
    # (3) Company may still come.
    return first.head().queued_at + policy.group_wait_s


def take_group(first: Strand | Preset, policy: Policy) -> tuple[Work, ...]:
    """Take one group off the queue, and charge those whose works are in it.

    (1) A preset group leaves as it is: it must not be merged with others again, and is paid.
    (2) Work by work, always the oldest of whose turn it is in the batch, within count and bytes;
        but the first in any case, so that one that is larger than the limit passes alone.
    (3) Who has had more than the one whose turn it is, and the costliest group beside, waits: else
        it would ride along in the turns of all others.
    """
    # (1) As it is.
    if isinstance(first, Preset):
        taken = [*first.works.values()]
        for work in taken:
            first.remove(work)
        return tuple(taken)
    # (2) Work by work; where nobody else is in the batch, at once.
    flow, batch = first.flow, first.batch
    start, waiting = flow.tag, flow.clock.waiting
    if len(batch.strands) == 1:
        taken = first.take(policy.group_requests, policy.group_bytes)
        total = charged(taken)
        flow.charge(total)
    else:
        taken, total = _take_in_turn(first, policy)
    flow.clock.served(start, total, waiting)
    return tuple(taken)


def _take_in_turn(first: Strand, policy: Policy) -> tuple[list[Work], float]:
    taken: list[Work] = []
    size, total, start = 0, 0.0, first.flow.tag
    most, turns = first.flow.clock.most, first.batch.turns
    while turns and len(taken) < policy.group_requests and (strand := turns.first()):
        work = strand.head()
        if taken and size + work.size > policy.group_bytes:
            break
        # (3) Too far ahead.
        if strand.flow.tag > start + max(most, total):
            break
        strand.remove(work)
        taken.append(work)
        size += work.size
        cost = charged((work,))
        strand.flow.charge(cost)
        total += cost
    return taken, total
