"""The real code with a mend taken out: what it did before, or would do without."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

from modelmora.agents.partitions import places
from modelmora.agents.partitions.beginning import Beginning, beginning
from modelmora.agents.partitions.care import Care
from modelmora.agents.partitions.lease import Lease
from modelmora.agents.partitions.ledger import PartitionLedger
from modelmora.agents.partitions.places import Outcomes, Places
from modelmora.agents.partitions.takeover import Partitions
from modelmora.agents.results import Results
from modelmora.kafka.batches import Partition

Mutation = Callable[[], AbstractContextManager[Any]]
_send = Results._send
_commit = PartitionLedger.commit


def without_lease() -> AbstractContextManager[Any]:
    """A node that was frozen goes on as if nothing had happened."""
    return patch.object(Lease, "holds", lambda _: True)


def without_look_back() -> AbstractContextManager[Any]:
    """What was answered since the last commit is begun again."""
    return patch.object(Places, "_outcomes", lambda *_: Outcomes())


def without_acknowledgement() -> AbstractContextManager[Any]:
    """An offset is done once its outcome, or the record that hands it on, is on its way."""

    def send(self: Any, record: Any, outgoing: Any) -> None:
        _send(self, record, outgoing)
        self._owned.done(record)

    return patch.object(Results, "_send", send)


def out_of_order() -> AbstractContextManager[Any]:
    """Behind the highest offset that is done is committed, whatever is open below."""

    def commit(self: Any, *arguments: Any) -> Any:
        found = _commit(self, *arguments)
        return found._replace(offset=max(found.offset, self.next if self.open else 0))

    return patch.object(PartitionLedger, "commit", commit)


def of_any_epoch() -> AbstractContextManager[Any]:
    """A partition that is taken anew keeps its epoch."""

    async def take_anew(self: Any, partition: Partition, epoch: int, read: int = 0) -> None:
        self._read[partition] = read
        self._forget({partition})
        self.intake.revoke({partition})
        self._epochs[partition] = epoch
        await self._take_over({partition: epoch})

    return patch.object(Partitions, "_take_anew", take_anew)


def blind_to_cuts() -> AbstractContextManager[Any]:
    """Only a commit beyond the end of its log tells that this was cut back."""

    def begin(*arguments: Any, reached: int = 0, **more: Any) -> Beginning:
        del reached
        return beginning(*arguments, **more)

    return patch.object(places, "beginning", begin)


def unable_to_look_back() -> AbstractContextManager[Any]:
    """A partition is read before a commit tells when that was."""

    def read(self: Any, starts: Any) -> None:
        self.reader.read(starts)

    return patch.object(Partitions, "_read_once_told", read)


def blind_to_deaths() -> AbstractContextManager[Any]:
    """Nobody counts who died before."""
    return patch.object(Care, "take_over", lambda *_: None)


def without_telling() -> AbstractContextManager[Any]:
    """Nobody tells what is begun of a partition whose owners died."""
    return patch.object(Care, "lets", lambda *_: True)


MUTATIONS: dict[str, Mutation] = {
    each.__name__: each
    for each in (
        without_lease,
        without_look_back,
        without_acknowledgement,
        out_of_order,
        of_any_epoch,
        blind_to_cuts,
        unable_to_look_back,
        blind_to_deaths,
        without_telling,
    )
}
