"""Orders at the gateway: how many may wait, and what is read for them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from unittest.mock import Mock

import pytest

from modelmora.errors import Code
from modelmora.gateway import orders
from modelmora.gateway.hall import Wish
from modelmora.gateway.orders import Orders
from modelmora.gateway.outcomes import Refusal
from modelmora.kafka.leases import NodeLease
from modelmora.kafka.orders import Answer, Order
from modelmora.kafka.writing.outbox import Written
from modelmora.messages import (
    ControlVerb,
    EventKind,
    LifecycleEvent,
    RegistryKind,
    RegistryRecord,
    State,
)
from modelmora.settings import Settings
from modelmora.wire import encode_event

LOAD = Wish(ControlVerb.LOAD, "m", wait_s=60)


class FakeTail:
    """A reader of events that a test feeds."""

    open: list[FakeTail]

    def __init__(self, _settings: Any, _pulse: Any, handle: Any, _schemas: Any) -> None:
        self.handle = handle

    async def start(self, _partitions: Mapping[str, Sequence[int]], start: str) -> None:
        assert start == "end"
        self.open.append(self)

    async def stop(self) -> None:
        self.open.remove(self)

    def tell(self, kind: EventKind, **facts: Any) -> None:
        event = LifecycleEvent("id", kind, "n1", 0, "m", "1", facts)
        self.handle(Mock(value=encode_event(event)))


@pytest.fixture
def tails(monkeypatch: pytest.MonkeyPatch) -> list[FakeTail]:
    FakeTail.open = []
    monkeypatch.setattr(orders, "Tail", FakeTail)
    return FakeTail.open


def desk(written: asyncio.Queue[Any], waiting: int = 10) -> Orders:
    """Orders whose commands stay in `written` until they are acknowledged."""
    settings = Settings.model_validate({"limits": {"gateway_waiting": waiting}})
    shapes = {f"{settings.namespace}.{name}": Mock(partitions=1) for name in ("control", "events")}
    return Orders(settings, Mock(shapes=shapes), Mock(send=written.put_nowait), None)


async def test_all_who_wait_share_one_reader_and_hear_what_was_told_early(
    tails: list[FakeTail],
) -> None:
    written: asyncio.Queue[Any] = asyncio.Queue()
    given = desk(written)
    waits = [asyncio.create_task(given.give(LOAD)) for _ in range(3)]
    async with asyncio.timeout(30):
        records = [await written.get() for _ in waits]
        (tail,) = tails
        for offset in range(3):
            tail.tell(EventKind.ANSWERED, command_offset=offset, nodes=1, state="loading")
        for offset, record in enumerate(records):
            record.done(Written(0, offset, 0))
        tail.tell(EventKind.LOADED)
        for order in await asyncio.gather(*waits):
            assert [each.state for each in order.told()] == [State.READY]
    assert tails == []


async def test_beyond_the_limit_an_order_is_refused_until_a_caller_has_gone(
    tails: list[FakeTail],
) -> None:
    written: asyncio.Queue[Any] = asyncio.Queue()
    given = desk(written, waiting=1)
    first = asyncio.create_task(given.give(LOAD))
    async with asyncio.timeout(30):
        await written.get()
        with pytest.raises(Refusal) as refused:
            await given.give(LOAD)
        assert refused.value.code is Code.BUSY
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert tails == []
        unheard = asyncio.create_task(given.give(Wish(ControlVerb.LOAD, "m")))
        (await written.get()).done(Written(0, 8, 0))
        assert (await unheard).offset == 8


@pytest.mark.parametrize(
    ("verb", "told", "pinned", "shown"),
    [
        (ControlVerb.LOAD, State.READY, False, True),
        (ControlVerb.LOAD, State.LOADING, False, False),
        (ControlVerb.UNLOAD, State.READY, False, False),
        (ControlVerb.PIN, State.READY, True, True),
        (ControlVerb.PIN, State.READY, False, False),
        (ControlVerb.UNPIN, State.READY, True, False),
    ],
)
def test_an_answer_waits_until_the_registry_tells_the_same(
    verb: ControlVerb, told: State, pinned: bool, shown: bool
) -> None:
    state = State.COLD if verb is ControlVerb.UNLOAD else State.READY
    order = Order(verb, 1, {("n1", "m@1"): Answer("n1", "m@1", state, done=True)})
    details = '{"pinned":true}' if pinned else ""
    models = [RegistryRecord(RegistryKind.MODEL, "m", "1", "echo", "", "n1", details=details)]
    lease = NodeLease("n1", {"m@1": "echo"}, (), 0, 1000, {}, {"m@1": told}, {"m@1": details})
    assert orders.is_shown(order, {"n1": lease}, models) is shown
    assert orders.is_shown(order, {}, []), "what is gone is not waited for"
