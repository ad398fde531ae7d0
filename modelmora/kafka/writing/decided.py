"""What became of the records of one transaction, each with all that goes before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from modelmora.kafka.writing.outbox import Answer, Dropped, Record, Refused, TooLarge, goes_alone


class Decided(NamedTuple):
    """What became of a record, and of all that goes before it: an answer for each of its parts."""

    record: Record
    answers: Sequence[Answer]

    @classmethod
    def dropped(
        cls, record: Record, refused: Record | None = None, why: Answer | None = None
    ) -> Decided:
        """Nothing of it was written; of its parts `refused` never can be, and that is `why`."""
        told = why or TooLarge()
        return cls(record, [told if part is refused else Dropped() for part in record.parts])


def went_alone(record: Record) -> bool:
    """Whether the broker's refusal is about this record, and not about its neighbours."""
    return record.alone or (record.after is None and goes_alone(record))


def without(records: Sequence[Record], unwanted: Mapping[str, str]) -> list[Decided]:
    """Refuses the parts that go to these topics, for the reason beside each."""
    parts = {record: part for record in records for part in record.parts if part.topic in unwanted}
    return [
        Decided.dropped(record, part, Refused(unwanted[part.topic]))
        for record, part in parts.items()
    ]
