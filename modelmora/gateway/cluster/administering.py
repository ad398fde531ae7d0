"""What the doors ask of what lies on the cluster: dead letters, and the audit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from modelmora.audit import reading
from modelmora.audit.verifying import Report
from modelmora.deadletters.choosing import May, anything
from modelmora.deadletters.letters import DeadLetter, Wanted
from modelmora.deadletters.replays import Rerun
from modelmora.kafka.reading.newest import Key, Page
from modelmora.kafka.reading.reader import Record

MOST_AT_ONCE = 1000
"""Letters that one call replays or purges."""
MOST_NAMED = 100
"""Ids and places that one call names."""
MOST_SHOWN = 100
"""Letters of one request that are shown."""


ANY = Wanted()


@dataclass(frozen=True, slots=True)
class Meant:
    """Letters by ids or places, or else all that are wanted."""

    which: tuple[str, ...] = ()
    wanted: Wanted = ANY


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of letters; `left_out` were replayed before."""

    reruns: list[Rerun]
    left_out: int


@dataclass(frozen=True, slots=True)
class Purged:
    """How many letters are purged, and how many of them the broker has removed already."""

    purged: int
    removed: int = 0


class Administering(Protocol):
    """Each raises Refusal. Letters that a caller may not see are as if they were not there."""

    async def letters(
        self, limit: int, wanted: Wanted, before: Key | None = None, may: May = anything
    ) -> Page[DeadLetter]:
        """The newest dead letters that are wanted, from `before` on back."""

    async def letter(
        self, which: str, *, content: bool = False, may: May = anything
    ) -> list[tuple[DeadLetter, Record]]:
        """Those of a request id or place, the newest first; `content`: it is to be shown."""

    async def replay(
        self, meant: Meant, *, again: bool = False, dry_run: bool = False, may: May = anything
    ) -> Replayed:
        """Put letters back on their lanes; of a dry run what would be done."""

    async def purge(self, meant: Meant, *, dry_run: bool = False, may: May = anything) -> Purged:
        """Purge letters for good; of a dry run how many that would be."""

    async def audit(
        self,
        limit: int,
        wanted: reading.Wanted,
        since: int | None = None,
        before: Key | None = None,
    ) -> Page[reading.Entry]:
        """The newest records of the audit that are wanted, from `before` on back."""

    async def verify(self) -> Report:
        """Whether what lies on `audit` and `events` is what was told."""
