"""Whose outcome ends a wait at the gateway, and when it is known."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from modelmora.errors import Code
from modelmora.gateway.calls.asking import Asking
from modelmora.gateway.calls.waiting import End, Waiting, WaitingRoom
from modelmora.gateway.calls.writing import Writer
from modelmora.gateway.outcomes import Refusal
from modelmora.kafka.writing.publisher import Answer, Written
from modelmora.kafka.writing.publisher import Record as Request
from modelmora.messages import (
    ErrorInfo,
    InferenceResult,
    Source,
    Status,
    outcome_status,
)
from modelmora.settings import Settings

OWN = Source("t", 0, 7)


def ended(code: Code | None = None, offset: int = 7) -> InferenceResult:
    error = ErrorInfo(code, "so it is") if code else None
    status = outcome_status(code) if code else Status.COMPLETED
    return InferenceResult("a", status, "m", "1", Source("t", 0, offset), error=error)


@pytest.mark.parametrize(
    ("code", "content", "offset", "own"),
    [
        (None, "same", 1, True),
        (None, "", 1, True),
        (None, "other", 7, False),
        (Code.INVALID_INPUT, "same", 1, True),
        (Code.ID_REUSED, "same", 7, True),
        (Code.CANCELLED, "same", 7, True),
        (Code.CANCELLED, "same", 1, False),
        (Code.EXPIRED, "same", 1, False),
    ],
)
def test_what_ends_a_wait_by_an_id_of_the_callers(
    code: Code | None, content: str, offset: int, own: bool
) -> None:
    waiting = Waiting("a", "local", content="same", place=OWN)
    assert waiting.ends(ended(code, offset), content) == own
    minted = Waiting("a", "local")
    assert minted.ends(ended(code, offset), content)


def test_an_outcome_may_come_before_its_acknowledgement() -> None:
    waiting = Waiting("a", "local", content="same")
    other, own = ended(Code.EXPIRED, 1), ended(Code.EXPIRED)
    assert not any(waiting.ends(each, "same") for each in (other, own))
    waiting.place = OWN
    assert [each for each in waiting.early if waiting.ends(each, "")] == [own]


@pytest.mark.parametrize("mine", [True, False])
async def test_that_nodes_take_it_for_anothers_may_come_before_its_acknowledgement(
    mine: bool,
) -> None:
    room, sent = WaitingRoom(1), list[Callable[[Answer], None]]()
    writer = SimpleNamespace(send=lambda _, decided: sent.append(decided))
    parts = cast("Any", SimpleNamespace())
    asking = Asking(Settings(), "g1", parts, room, parts, cast("Writer", writer))
    waiting, _ = room.enter("a", "alice")
    caller: asyncio.Future[End] = asyncio.get_running_loop().create_future()
    waiting.callers.append(caller)
    asking._send(waiting, Request("t", b"m", b"v", lambda _: None), 0)
    told = ended(Code.FORBIDDEN, 7 if mine else 6)
    assert not waiting.is_mistaken(told, "topic:alice")
    sent[0](Written(0, 7, 1))
    assert caller.done() is mine
    if mine:
        refusal = caller.result()
        assert isinstance(refusal, Refusal)
        assert "access.cluster_secret" in refusal.message
    room.settle(waiting, ended())


def test_what_was_refused_says_nothing_of_who_had_the_id() -> None:
    waiting = Waiting("a", "local", content="same")
    waiting.meet(ended(Code.ID_REUSED), "same", 1, 0)
    assert not waiting.found_ms
    waiting.meet(ended(), "other", 2, 1)
    assert waiting.found == ended()
    assert (waiting.others, waiting.found_ms) == (True, 2)


def test_callers_of_one_id_ask_the_same() -> None:
    room = WaitingRoom(10)
    first, _ = room.enter("a", "alice", "same")
    assert room.enter("a", "alice", "same") == (first, False)
    for principal, content in (("alice", "other"), ("bob", "same")):
        with pytest.raises(Refusal) as caught:
            room.enter("a", principal, content)
        assert caught.value.code is Code.ID_REUSED
