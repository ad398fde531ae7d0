"""Which works share a group: equal batch key, arrival order, bounded by count and bytes."""

from __future__ import annotations

from modelmora.scheduling.policy import Policy
from modelmora.scheduling.work import Batch, Work


def opens_at(batch: Batch, policy: Policy) -> float:
    """When (monotonic s) a group of the batch may leave; the batch is not empty.

    (1) There is no wait, or a dying child gave the group back: at once.
    (2) It is full, by count or by bytes: at once.
    (3) Else when its oldest work has waited `group_wait_s` for company.
    """
    # (1) Nothing to wait for.
    if policy.group_wait_s <= 0 or batch.preset:
        return float("-inf")
    # (2) Full.
    if len(batch.works) >= policy.group_requests or batch.bytes >= policy.group_bytes:
        return float("-inf")
    # (3) Company may still come.
    return batch.head().queued_at + policy.group_wait_s


def take_group(batch: Batch, policy: Policy) -> tuple[Work, ...]:
    """Take one group off the front of the batch; the batch is not empty.

    (1) A preset group leaves as it is: it must not be merged with others again.
    (2) Else the longest prefix within count and bytes, but always the oldest work, so that one
        that is larger than the limit passes alone.
    """
    # (1) As it is; also where the limits leave nothing behind.
    whole = batch.preset or (
        len(batch.works) <= policy.group_requests and batch.bytes <= policy.group_bytes
    )
    if whole:
        taken = list(batch.works.values())
        batch.works.clear()
        batch.bytes = 0
    # (2) A prefix.
    else:
        taken = _take_prefix(batch, policy)
    for work in taken:
        work.place = None
    return tuple(taken)


def _take_prefix(batch: Batch, policy: Policy) -> list[Work]:
    taken: list[Work] = []
    size = 0
    while batch.works and len(taken) < policy.group_requests:
        order, work = batch.works.popitem(last=False)
        if taken and size + work.size > policy.group_bytes:
            batch.works[order] = work
            batch.works.move_to_end(order, last=False)
            break
        taken.append(work)
        size += work.size
    batch.bytes -= size
    return taken
