"""What a node does about a partition of its own that it does not get on with."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from modelmora.errors import Unreachable
from modelmora.kafka.batches import Partition
from modelmora.node.lookout import EXIT_CODE, Lookout
from modelmora.node.path import Look
from modelmora.settings import Settings

LANE: Partition = ("lane", 0)
LIMIT_S = Settings().timing.watchdog_s


class Partitions:
    """Owns one partition, read up to offset 5."""

    def __init__(self) -> None:
        self.intake = self

    def next_offset(self, partition: Partition) -> int:
        return 5

    async def ask(self, question: Callable[..., Any], *arguments: Any) -> Any:
        return question(*arguments)


class Standing:
    """Answers as it is told."""

    def __init__(self, answer: bool | None) -> None:
        self._answer = answer

    def anything(self, partition: Partition, offset: int) -> bool:
        if self._answer is None:
            raise Unreachable("neither a record nor the end")
        return self._answer


@pytest.mark.row("F10")
@pytest.mark.parametrize(
    ("answer", "limits", "ends", "unread"),
    [
        (True, 0.5, False, True),
        (True, 1.5, True, True),
        (False, 1.5, False, False),
        (None, 1.5, False, True),
        (None, 2.5, True, True),
    ],
    ids=["not yet", "records", "only marks", "silence", "long silence"],
)
async def test_it_ends_where_records_wait_or_nobody_is_given_any(
    answer: bool | None, limits: float, ends: bool, unread: bool
) -> None:
    told: list[int] = []
    fake: Any = Partitions()
    standing: Any = Standing(answer)
    looked = Lookout(Settings(), "n1", fake, fake, standing, lambda why, code: told.append(code))
    looked.path.unread = {LANE: time.monotonic() - limits * LIMIT_S}
    seen = Look(frozenset(), {}, frozenset(), {LANE: (0, 8)}, {})
    await looked._look_closer(seen)
    assert told == ([EXIT_CODE] if ends else [])
    assert (LANE in looked.path.unread) is unread
