"""What goes into a transaction beside its records, and who knows of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from modelmora.kafka.batches import Partition
from modelmora.kafka.writing.outbox import Record


class Due(NamedTuple):
    """What is to be committed of a partition, while it is owned in this epoch."""

    epoch: int
    offset: int
    metadata: str


Dues = Mapping[Partition, Due]


class Reader(Protocol):
    """What reads the requests; see `modelmora.kafka.group`."""

    @property
    def membership(self) -> tuple[object, Mapping[Partition, int]]:
        """The group's metadata and the epochs of what was owned, of one and the same moment."""


class Books(Protocol):
    """Who knows what is done; asked on the loop."""

    def dues(self, records: Sequence[Record]) -> Dues:
        """What is to be committed together with these records."""

    def paid(self, dues: Dues) -> None:
        """That has been committed, and the records were told so."""
