"""Requests whose inputs are references: fetched within limits, refused in words, never lost."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import Any

import pytest

from modelmora.agents.fetching import Fetching
from modelmora.errors import Code, RequestError
from modelmora.messages import InferenceRequest, Lane, ObjectRef
from modelmora.serving import Incoming, Record
from modelmora.testing.fakes import FakeRecord, incoming
from modelmora.testing.objects import MemoryStore
from modelmora.wire import decode_request, encode_request
from tests.unit.objects.stores import objects_on, until

SIZE = 1000
LIMIT = 10 * SIZE


class Desk:
    """Who takes requests, and who knows what is owed."""

    def __init__(self, retry_s: float = 30) -> None:
        self.store = MemoryStore()
        self.objects = objects_on(self.store, retry_s=retry_s)
        self.accepted: list[Incoming] = []
        self.refused: list[RequestError] = []
        self.ended: set[int] = set()
        self.inline_bytes = 0
        self.weights: dict[int, int] = {}
        self.fetching = Fetching(self.objects, self, self, LIMIT)
        self._offset = 0

    def room(self, lane: Lane) -> int:
        weights = (size for at, size in self.weights.items() if at not in self.ended)
        return LIMIT - self.inline_bytes - sum(weights)

    def weigh(self, record: Record, size: int) -> None:
        self.weights[record.offset] = size

    def weighs(self, record: Record) -> bool:
        return record.offset in self.weights.keys() - self.ended

    def owes(self, record: Record) -> bool:
        return record.offset not in self.ended

    def awaits(self, request: Incoming) -> bool:
        return not request.ended

    def accept(self, request: Incoming) -> None:
        self.accepted.append(request)

    def refuse(self, request: Incoming, error: RequestError) -> None:
        self.refused.append(error)

    def arm(self) -> None:
        pass

    def ref(self, size: int = SIZE, content: bytes = b"x", principal: str = "local") -> ObjectRef:
        return self.objects.put(content * size, "application/octet-stream", principal)

    def request(self, *inputs: Any, model: str = "echo") -> Incoming:
        self._offset += 1
        value = encode_request(InferenceRequest("r", model, inputs))
        record = FakeRecord(offset=self._offset, value=value)
        return incoming("r", model, record=record)

    def ask(self, *inputs: Any, model: str = "echo") -> bool:
        return self.fetching.takes(self.request(*inputs, model=model))

    def inputs(self) -> list[Any]:
        return [decode_request(request.value).inputs for request in self.accepted]


async def test_others_are_left_alone() -> None:
    desk = Desk()
    assert not desk.ask("text", b"bytes")
    assert not desk.ask("see https://example.com")
    record = FakeRecord(value=b"\xc3\x01 no:// request")
    assert not desk.fetching.takes(incoming("r", record=record))


async def test_the_child_gets_the_contents() -> None:
    desk = Desk()
    text = desk.objects.put("hällo".encode(), "text/plain", "local")
    assert desk.ask("a", text, desk.ref(3))
    await until(lambda: bool(desk.accepted))
    assert desk.inputs() == [("a", "hällo", b"xxx")]


async def test_what_may_not_be_read_is_not_fetched() -> None:
    desk = Desk()
    good = desk.ref()
    desk.store.asked = 0
    for ref in (
        replace(good, uri="http://127.0.0.1/"),
        replace(good, size=10 << 30),
        replace(good, expires_at=0),
        desk.ref(principal="bob"),
    ):
        desk.store.asked = 0
        assert desk.ask(ref)
        assert desk.store.asked == 0
    codes = [error.code for error in desk.refused]
    assert codes == [Code.INVALID_INPUT, Code.TOO_LARGE, Code.INVALID_INPUT, Code.INVALID_INPUT]


async def test_what_is_gone_or_another_is_refused() -> None:
    desk = Desk()
    gone, changed = desk.ref(5), desk.ref(6)
    del desk.store.kept[gone.uri]
    desk.store.kept[changed.uri] = b"yyyyyy", ""
    assert desk.ask(gone)
    assert desk.ask(changed)
    await until(lambda: len(desk.refused) == 2)
    assert {error.code for error in desk.refused} == {Code.INVALID_INPUT}
    assert sorted(error.message[:8] for error in desk.refused) == ["inputs.0", "inputs.0"]


async def test_a_store_that_is_down_is_waited_for() -> None:
    desk = Desk()
    ref = desk.ref()
    desk.store.down()
    assert desk.ask(ref)
    await until(lambda: desk.store.asked > 2)
    assert not desk.accepted
    desk.store.fault = None
    await until(lambda: bool(desk.accepted))


@pytest.mark.parametrize("fault", [None, KeyError("odd")])
async def test_what_never_comes_is_an_outcome(fault: Exception | None) -> None:
    desk = Desk(retry_s=0)
    ref = desk.ref()
    desk.store.down()
    desk.store.fault = fault or desk.store.fault
    assert desk.ask(ref)
    await until(lambda: bool(desk.refused))
    told = Code.INFERENCE_FAILED if fault else Code.STORE_UNAVAILABLE
    assert desk.refused[0].code is told


async def test_a_model_has_its_share_and_others_go_on() -> None:
    desk = Desk()
    for number in range(9):
        assert desk.ask(desk.ref(content=bytes([number])))
    await until(lambda: len(desk.accepted) == 2)  # a quarter of ten
    assert desk.ask(desk.ref(), model="other")
    await until(lambda: len(desk.accepted) == 3)
    assert desk.fetching.held_bytes == 3 * SIZE
    desk.ended |= {request.record.offset for request in desk.accepted}
    await until(lambda: len(desk.accepted) == 5)
    assert desk.fetching.held_bytes == 2 * SIZE


async def test_what_waits_inline_leaves_less_room_but_never_none() -> None:
    desk = Desk()
    desk.inline_bytes = LIMIT - SIZE
    assert desk.ask(desk.ref())
    assert desk.ask(desk.ref(), model="other")
    # Both are looked at in the same turn of the loop, before anything can have been fetched.
    await until(lambda: bool(desk.accepted))
    assert desk.fetching.held_bytes == SIZE
    desk.inline_bytes -= SIZE
    await until(lambda: len(desk.accepted) == 2)
    assert desk.fetching.held_bytes == 2 * SIZE
    desk.inline_bytes = 2 * LIMIT
    desk.ended |= {1, 2}
    assert desk.ask(desk.ref())
    await until(lambda: len(desk.accepted) == 3)


async def test_one_larger_than_the_limit_goes_alone() -> None:
    desk = Desk()
    assert desk.ask(desk.ref())
    assert desk.ask(desk.ref(3 * LIMIT))
    await until(lambda: len(desk.accepted) == 1)
    desk.ended.add(1)
    await until(lambda: len(desk.accepted) == 2)
    assert desk.weights == {1: SIZE, 2: LIMIT}, "it closes no lane by itself"


async def test_what_is_dropped_is_forgotten() -> None:
    desk = Desk()
    blocked = threading.Event()
    read = desk.objects.read

    def slowly(ref: ObjectRef) -> bytes:
        blocked.wait(30)
        return read(ref)

    desk.objects.read = slowly  # type: ignore[method-assign]
    for _ in range(4):
        assert desk.ask(desk.ref())
    await until(lambda: desk.fetching.held_bytes == 2 * SIZE)
    partition = (FakeRecord().topic, 0)
    assert desk.fetching.drop({("other", 0)}) == []
    dropped = desk.fetching.drop({partition})
    assert sorted(record.offset for record in dropped) == [1, 2, 3, 4]
    assert desk.fetching.drop({partition}) == []
    desk.ended |= {1, 2, 3, 4}
    blocked.set()
    assert desk.ask(desk.ref())
    await until(lambda: bool(desk.accepted))
    assert [request.record.offset for request in desk.accepted] == [5]


async def test_what_was_shed_counts_no_more_and_comes_again() -> None:
    desk = Desk()
    for number in range(2):
        assert desk.ask(desk.ref(content=bytes([number])))
    await until(lambda: len(desk.accepted) == 2)
    desk.weights.clear()
    desk._offset = 0
    for number in range(2):
        assert desk.ask(desk.ref(content=bytes([number])))
    await until(lambda: len(desk.accepted) == 4)
    assert desk.fetching.held_bytes == 2 * SIZE


async def test_what_has_ended_meanwhile_is_fetched_no_further() -> None:
    desk = Desk()
    first, second = desk.ref(), desk.ref()
    desk.store.down()
    desk.store.asked = 0
    requests = [desk.request(first), desk.request(second)]
    assert all(desk.fetching.takes(request) for request in requests)
    await until(lambda: desk.store.asked > 0)
    requests[0].ended = True
    desk.store.fault = None
    await until(lambda: bool(desk.accepted and desk.refused))
    assert desk.accepted == requests[1:]
    assert [error.code for error in desk.refused] == [Code.CANCELLED], "which its taker ignores"
    ended = desk.request(first)
    ended.ended = True
    desk.store.asked = 0
    assert desk.fetching.takes(ended)
    assert desk.store.asked == 0


async def test_what_was_just_accepted_is_not_dropped_with_the_fetches() -> None:
    """Shed, it would be read again while it runs."""
    desk = Desk()
    dropped: list[list[Record]] = []
    accept = desk.accept

    def accepted(request: Incoming) -> None:
        accept(request)
        place = request.record.topic, request.record.partition
        look = lambda: dropped.append(desk.fetching.drop({place}))  # noqa: E731
        asyncio.get_running_loop().call_soon(look)

    desk.accept = accepted  # type: ignore[method-assign]
    assert desk.ask(desk.ref())
    await until(lambda: bool(dropped))
    assert dropped == [[]]
