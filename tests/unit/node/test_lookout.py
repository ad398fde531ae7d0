"""What a node does about a partition of its own that it does not get on with."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
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
    """Owns one partition, read up to offset 5, and further while the broker is asked."""

    def __init__(self, *, moves: bool = False) -> None:
        self.intake = self
        self._at, self._moves = 5, moves

    def next_offset(self, partition: Partition) -> int:
        return self._at

    async def ask(self, question: Callable[..., Any], *arguments: Any) -> Any:
        self._at += self._moves
        return question(*arguments)


class Standing:
    """Answers as it is told."""

    def __init__(self, answer: bool | None) -> None:
        self._answer = answer

    def waiting(self, since: Mapping[Partition, int]) -> set[Partition]:
        if self._answer is None:
            raise Unreachable("neither a record nor the end")
        return {*since} if self._answer else set()


async def look_closer(
    answer: bool | None, limits: float, *, moves: bool = False
) -> tuple[list[int], bool]:
    """Whether the node ends, and whether its partition still counts as unread."""
    told: list[int] = []
    fake: Any = Partitions(moves=moves)
    standing: Any = Standing(answer)
    looked = Lookout(Settings(), "n1", fake, fake, standing, lambda why, code: told.append(code))
    looked.path.unread = {LANE: time.monotonic() - limits * LIMIT_S}
    await looked._look_closer(Look(frozenset(), {}, frozenset(), {LANE: (0, 8)}, {}))
    return told, LANE in looked.path.unread


@pytest.mark.row("F10")
@pytest.mark.parametrize(
    ("answer", "limits", "ends", "unread"),
    [
        (True, 0.5, False, True),
        (True, 1.5, True, True),
        (False, 0.4, False, False),
        (None, 1.5, False, True),
        (None, 2.5, True, True),
    ],
    ids=["not yet", "records", "only marks, before it counts", "silence", "long silence"],
)
async def test_it_ends_where_records_wait_or_nobody_is_given_any(
    answer: bool | None, limits: float, ends: bool, unread: bool
) -> None:
    assert await look_closer(answer, limits) == ([EXIT_CODE] if ends else [], unread)


@pytest.mark.parametrize("answer", [True, None], ids=["records", "silence"])
async def test_it_goes_on_where_it_moved_while_the_broker_was_asked(answer: bool | None) -> None:
    told, _ = await look_closer(answer, 2.5, moves=True)
    assert told == []
