"""How old the oldest request is that was read and is not answered."""

from __future__ import annotations

from collections import defaultdict, deque

from modelmora.agents.partitions.intake import Intake
from modelmora.kafka.batches import Partition
from modelmora.serving import Record

SLACK = 100
"""So much of what is done may be kept, beside as much as is open."""


class Ages:
    """When what is open was appended, by the broker's clock.

    What is appended later lies behind it on its partition, so no unread record is older.
    """

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._begun: defaultdict[Partition, deque[tuple[int, int]]] = defaultdict(deque)
        """Offset and time of what was begun; what is done goes once it comes first, or is many."""

    def began(self, record: Record) -> None:
        """The intake has taken the record."""
        partition = (record.topic, record.partition)
        self._begun[partition].append((record.offset, record.timestamp))
        self._tidy(partition)

    def oldest_ms(self, topic: str) -> int | None:
        """When (Unix ms) the oldest open request of a topic was appended; None: none is open."""
        for partition in [each for each in self._begun if each[0] == topic]:
            self._tidy(partition)
        firsts = (begun[0][1] for (name, _), begun in self._begun.items() if name == topic)
        return min(firsts, default=None)

    def _tidy(self, partition: Partition) -> None:
        ledger, begun = self._intake.ledger(partition), self._begun[partition]
        while begun and (ledger is None or begun[0][0] not in ledger.open):
            begun.popleft()
        if not begun:
            del self._begun[partition]
        elif ledger and len(begun) > 2 * len(ledger.open) + SLACK:
            # One that takes long must not keep all that was done behind it.
            self._begun[partition] = deque(each for each in begun if each[0] in ledger.open)
