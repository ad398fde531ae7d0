"""Over how many partitions the requests of a model lie, as its records say it for each id; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import pairwise

from modelmora.messages import RegistryKind, RegistryRecord
from modelmora.records.changes import changed, is_time
from modelmora.records.telling import details_of
from modelmora.settings.models import MOST_SPREAD
from modelmora.wire import time_of

Steps = tuple[tuple[int, int], ...]
"""From when on (Unix ms) ids are laid over how many partitions, the earliest first."""


def with_spread(
    record: RegistryRecord, before: RegistryRecord | None, now_ms: int, *, first: bool
) -> RegistryRecord:
    """The record of a model with what it says of its spread, over what counted before.

    (1) As before. (2) It is the `first` of its name: nobody has laid out an id of it otherwise.
    (3) Else another spread is for ids to come. What has an id from before still lies where it lay,
        and so does what is asked again with that id.
    """
    if record.kind is not RegistryKind.MODEL:
        return record
    told = dict(before.spreads) if before else {}
    steps = steps_of(told)
    wanted = details_of(record).spread if record.present else 1
    # (1)
    if wanted == (steps[-1][1] if steps else 1):
        return replace(record, spreads=told)
    # (2)
    if first:
        return replace(record, spreads={"0": wanted})
    # (3)
    after = {str(at): spread for at, spread in changed(steps, wanted, now_ms)}
    return replace(record, spreads=after)


def steps_of(told: Mapping[str, int]) -> Steps:
    """What a record says, as far as it can be meant; it may be a stranger's."""
    return tuple(
        sorted(
            (int(at), spread)
            for at, spread in told.items()
            if is_time(at) and 1 <= spread <= MOST_SPREAD
        )
    )


def joined(several: Iterable[Steps]) -> Steps:
    """The steps of a name: at each time the largest spread that one of its versions has.

    A request may name its version or not, so all versions of a name lie alike.
    """
    all_steps = [*several]
    times = sorted({at for steps in all_steps for at, _ in steps})
    found = [(at, max(spread_at(steps, at) for steps in all_steps)) for at in times]
    changes = [after for before, after in pairwise([(0, 1), *found]) if after[1] != before[1]]
    return tuple(changes)


def spread_at(steps: Steps, made_ms: int) -> int:
    """The spread for ids that were made then."""
    return next((spread for at, spread in reversed(steps) if at <= made_ms), 1)


def spread_for(steps: Steps, request_id: str) -> int:
    """The spread for an id; one without a time could be of any, and is not spread."""
    made_ms = time_of(request_id)
    return 1 if made_ms is None else spread_at(steps, made_ms)
