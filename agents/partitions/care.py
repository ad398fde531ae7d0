"""What may be begun of partitions whose owners died: little at a time, and told before."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import structlog

from modelmora.agents.partitions.intake import Intake
from modelmora.agents.partitions.ledger import WINDOW, Commit, read_metadata
from modelmora.agents.partitions.suspects import WIDTH, Suspects, inherited
from modelmora.kafka.batches import Partition

log = structlog.get_logger(__name__)
QUIET_S = 3.0
"""To twice as long, before a record is tried once more: a node that dies anyway dies meanwhile."""


@dataclass(slots=True)
class _Watched:
    """A partition of which nothing is begun that was not told before."""

    below: int = 0
    """What lies below was told, and the group has confirmed it."""
    waits: int | None = None
    """The offset that is to be begun next."""
    asked: bool = False
    """Whether what is to be told of it waits to be confirmed."""


class Care:
    """Has commits tell what is begun of partitions whose owners died, before it is decoded.

    What is to be begun alone has its turn once nothing is open on the whole node, and nothing
    else is begun until it is done: then the death of the node says something of it.
    """

    def __init__(
        self,
        intake: Intake,
        owner: bytes | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`owner` names this process, with four bytes."""
        self._intake = intake
        self._owner = owner or os.urandom(4)
        self._now = monotonic
        self._watched: dict[Partition, _Watched] = {}
        self._turn: tuple[Partition, int] | None = None
        """What is begun alone, or will be."""
        self._quiet_until = 0.0
        self._resting: set[Partition] = set()
        self.commit: Callable[[], None] = lambda: None
        """Has committed what is to be told."""

    # Ownership -----------------------------------------------------------------------------------

    def take_over(self, partition: Partition, told: Suspects | None, end: int) -> None:
        """Suspect what the last owner may have died of, of a log that ends there.

        Nothing is to be read before a commit tells it.
        """
        ledger = self._intake.ledger(partition)
        if ledger is None:
            return
        found = inherited(told, ledger.head, end, WINDOW, self._owner)
        ledger.suspects = found
        if found and found.careful:
            self._watched[partition] = _Watched()
            facts = {"deaths": found.deaths + found.tries, "begin": ledger.head}
            log.warning("owners of a partition died in a row", partition=partition, **facts)

    def drop(self, partitions: Iterable[Partition]) -> None:
        """These are not ours any more."""
        for partition in partitions:
            self._watched.pop(partition, None)
            self._resting.discard(partition)
            if self._turn and self._turn[0] == partition:
                self._turn = None

    def confirmed(self, commits: Mapping[Partition, Commit]) -> None:
        """The group has taken these commits: what they tell may be begun."""
        for partition in commits.keys() & self._watched.keys():
            watched, ledger = self._watched[partition], self._intake.ledger(partition)
            told = read_metadata(*commits[partition]).suspects
            if watched.asked and ledger and ledger.suspects and told and told.begun:
                if told.mark != ledger.suspects.mark:
                    continue
                watched.below, watched.waits, watched.asked = told.mark, None, False
                self._wake(partition)

    # Reading -------------------------------------------------------------------------------------

    @property
    def active(self) -> bool:
        """Whether anything has to be asked; else everything may be begun."""
        return bool(self._watched)

    @property
    def why(self) -> str | None:
        """Why less is begun than could be; None where nothing is held back for that."""
        if not self._watched:
            return None
        ledgers = map(self._intake.ledger, self._watched)
        is_alone = any(each and each.suspects and each.suspects.alone for each in ledgers)
        how = "one request at a time on the whole node" if is_alone else f"{WIDTH} requests of each"
        return f"owners of {len(self._watched)} of its partitions died in a row: it begins {how}"

    def lets(self, partition: Partition, offset: int) -> bool:
        """Whether the record there may be begun now; if not, it is read again when it may."""
        ledger, watched = self._intake.ledger(partition), self._watched.get(partition)
        if ledger is None or offset < ledger.next or ledger.has(offset):
            return True  # it is not begun anyway
        is_told = watched is None or offset < watched.below
        if watched and ledger.suspects and not is_told:
            if offset >= ledger.suspects.until and not ledger.open:
                self._clear(partition)
                is_told = True
            else:
                watched.waits = offset
        if is_told and (self._turn is None or self._turn[0] == partition):
            return True
        self._resting.add(partition)
        self._intake.rest(partition)
        return False

    def tries(self, partition: Partition, offset: int) -> int:
        """How many nodes the record there has ended, where it is to be set aside for that."""
        ledger = self._intake.ledger(partition) if self._watched else None
        suspects = ledger.suspects if ledger else None
        return suspects.tries if suspects and suspects.condemns(offset) else 0

    def look(self) -> None:
        """To be called often: tell what is to be begun, and let go on what waited for that."""
        if not self._watched and not self._resting:
            return
        for partition in [*self._watched]:
            ledger = self._intake.ledger(partition)
            if not ledger or not ledger.suspects or ledger.head >= ledger.suspects.until:
                self._clear(partition)
        self._take_turns()
        for partition, watched in self._watched.items():
            if watched.waits is not None and not watched.asked:
                self._ask(partition, watched, watched.waits)
        if any(each.asked for each in self._watched.values()):
            self.commit()
        for partition in [*self._resting] if self._turn is None else ():
            waiting = self._watched.get(partition)
            if waiting is None or waiting.waits is None:
                self._wake(partition)

    def _take_turns(self) -> None:
        """See whether what is begun alone is done, or gone; then the next may be."""
        if self._turn and self._is_pending(*self._turn):
            return
        self._turn = None
        for partition, watched in self._watched.items():
            ledger = self._intake.ledger(partition)
            suspects = ledger.suspects if ledger else None
            if suspects and suspects.alone and watched.waits is not None:
                self._turn, watched.asked = (partition, watched.waits), False
                again = suspects.tries and suspects.mark == watched.waits + 1
                again = again and not suspects.condemns(watched.waits)
                jitter = 1 + self._owner[0] / 255
                self._quiet_until = self._now() + (QUIET_S * jitter if again else 0.0)
                return

    def _is_pending(self, partition: Partition, offset: int) -> bool:
        """Whether the record there is still to be begun, or to be done.

        Where a later one came before it was begun, it is not in the log any more.
        """
        ledger, watched = self._intake.ledger(partition), self._watched.get(partition)
        if not ledger or not watched or offset < ledger.head or ledger.has(offset):
            return False
        return offset in ledger.open or watched.waits in (None, offset)

    def _ask(self, partition: Partition, watched: _Watched, offset: int) -> None:
        ledger = self._intake.ledger(partition)
        if not ledger or not ledger.suspects or not self._is_free(partition, ledger.suspects):
            return
        if wider := ledger.suspects.wider(ledger.head, offset, is_first=not ledger.open):
            ledger.suspects, watched.asked = wider, True
            self._intake.claim(partition)
        elif ledger.next < watched.below:  # something before it left memory
            watched.waits = None
            self._wake(partition)

    def _is_free(self, partition: Partition, suspects: Suspects) -> bool:
        """Whether something may be begun there beside what is open, or begun alone."""
        if self._turn and self._turn[0] != partition:
            return False
        is_quiet = not self._intake.open_requests and self._now() >= self._quiet_until
        return is_quiet or not suspects.alone

    def _clear(self, partition: Partition) -> None:
        """All that was suspected is done: it goes on as ever."""
        self._watched.pop(partition, None)
        if ledger := self._intake.ledger(partition):
            ledger.suspects = None
        log.info("nothing is suspected any more", partition=partition)
        self._wake(partition)

    def _wake(self, partition: Partition) -> None:
        self._resting.discard(partition)
        self._intake.wake(partition)
