"""What is told of tasks that end by themselves."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from modelmora.kafka.background import background


@pytest.mark.parametrize(
    ("ends", "fails", "lines"),
    [(False, False, 1), (False, True, 1), (True, False, 0), (True, True, 1)],
)
async def test_an_end_is_told_where_there_was_to_be_none(
    ends: bool, fails: bool, lines: int
) -> None:
    async def work() -> None:
        if fails:
            raise ValueError("wrong")

    with capture_logs() as logged:
        await asyncio.wait([background(work(), "work", ends=ends)])
        await asyncio.sleep(0)
    assert [each["task"] for each in logged] == ["work"] * lines
