"""Gateways that fall silent, die, refuse and stop: who is asked, how often, by which id."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from modelmora.client import (
    Answer,
    AsyncClient,
    CallError,
    Client,
    DeadlineExceeded,
    GatewayUnreachable,
    Options,
    Text,
)
from modelmora.errors import Code, Invalid
from modelmora.gateway.outcomes import Refusal
from modelmora.messages import ProgressEvent, ProgressStage
from modelmora.testing.objects import MemoryStore
from tests.programs import eventually
from tests.unit.client.doubles import CAP_S, Gateway, Shop

DEAD = "127.0.0.1:1"
QUICK = Options(patience_s=0.2)


def said(sequence: int, text: str) -> ProgressEvent:
    stage = ProgressStage.CHUNK
    return ProgressEvent("x", stage, "echo@1", chunk=text.encode(), sequence=sequence)


async def test_a_silent_gateway_is_passed_by_and_not_told_that_nobody_waits(
    one: Gateway, two: Gateway
) -> None:
    one.block()
    async with AsyncClient(one.address, two.address, options=QUICK) as client:
        waiting = asyncio.create_task(client.infer("echo", ["a"]))
        await asyncio.to_thread(one.entered)
        one.freeze()
        answer = await waiting
        assert not one.gone()
        ids = [ask.request_id for gateway in (one, two) for ask in gateway.hall.asks]
        assert ids == [answer.request_id] * 2
        began = time.monotonic()
        await client.infer("echo", ["b"])
        assert time.monotonic() - began < 10, "it has learned; nobody waits for the first"
        assert len(two.hall.asks) == 2


async def test_a_gateway_that_is_frozen_before_it_is_connected_is_passed_by(
    one: Gateway, two: Gateway
) -> None:
    one.freeze()
    async with AsyncClient(one.address, two.address, options=QUICK) as client:
        assert (await client.infer("echo", ["a"])).outputs == ("a",)
    assert one.hall.asks == []


async def test_one_that_is_slow_but_alive_is_left_to_work(one: Gateway, two: Gateway) -> None:
    one.block()
    async with AsyncClient(one.address, two.address, options=Options(patience_s=0.1)) as client:
        waiting = asyncio.create_task(client.infer("echo", ["a"]))
        await asyncio.to_thread(one.entered)
        await asyncio.sleep(0.5)  # several patiences
        one.unblock()
        await waiting
    assert two.hall.asks == []


async def test_a_single_gateway_is_waited_for(one: Gateway) -> None:
    one.block()
    async with AsyncClient(one.address, options=Options(patience_s=0.05)) as client:
        waiting = asyncio.create_task(client.infer("echo", ["a"]))
        await asyncio.to_thread(one.entered)
        one.freeze()
        await asyncio.sleep(0.5)
        one.thaw()
        one.unblock()
        assert (await waiting).outputs == ("a",)
    assert len(one.hall.asks) == 1


async def test_what_a_thawed_gateway_says_counts_where_the_other_refuses(
    one: Gateway, two: Gateway
) -> None:
    one.block()
    two.hall.refusal = Refusal(Code.BUSY, "full", retry_after_ms=100)
    async with AsyncClient(one.address, two.address, options=QUICK) as client:
        waiting = asyncio.create_task(client.infer("echo", ["a"]))
        await asyncio.to_thread(one.entered)
        one.freeze()
        await asyncio.to_thread(two.entered)
        one.thaw()
        one.unblock()
        assert (await waiting).outputs == ("a",)
    assert len(one.hall.asks) == 1


async def test_a_stream_goes_on_at_another_gateway(one: Gateway, two: Gateway) -> None:
    for gateway in (one, two):
        gateway.hall.outputs = ("Paris it",)
    one.hall.events = (said(0, "Par"), said(1, "is "))
    two.hall.events = (said(2, "it"),)
    one.block()
    async with AsyncClient(one.address, two.address, options=QUICK) as client:
        pieces = client.stream("echo", ["a"])
        found = [await anext(pieces), await anext(pieces)]
        one.freeze()
        found += [piece async for piece in pieces]
    texts = [piece for piece in found if isinstance(piece, Text)]
    assert "".join(piece.text for piece in texts) == "Paris it"
    assert not any(piece.anew for piece in texts)
    assert isinstance(found[-1], Answer)
    assert found[-1].outputs == ("Paris it",)
    assert len({ask.request_id for each in (one, two) for ask in each.hall.asks}) == 1


async def test_a_killed_gateway_is_replaced_amid_a_stream(one: Gateway, two: Gateway) -> None:
    one.hall.events = (said(0, "Par"),)
    one.block()
    two.hall.outputs = ("Other",)
    async with AsyncClient(one.address, two.address) as client:
        pieces = client.stream("echo", ["a"])
        assert await anext(pieces) == Text("Par")
        await asyncio.to_thread(one.stop)
        assert [each async for each in pieces][:1] == [Text("Other", anew=True)]


async def test_busy_gateways_are_asked_when_they_say(one: Gateway, two: Gateway) -> None:
    one.hall.refusal = Refusal(Code.BUSY, "full", retry_after_ms=150)
    options = Options(attempts=3)
    async with AsyncClient(one.address, options=options) as client:
        began = time.monotonic()
        with pytest.raises(CallError) as caught:
            await client.infer("echo", ["a"])
    assert time.monotonic() - began >= 0.3
    assert (caught.value.code, caught.value.retry_after_ms) == ("busy", 150)
    assert len({ask.request_id for ask in one.hall.asks}) == 1
    assert len(one.hall.asks) == 3


async def test_no_time_is_spent_on_what_comes_too_late(one: Gateway) -> None:
    one.hall.refusal = Refusal(Code.BUSY, "full", retry_after_ms=60_000)
    async with AsyncClient(one.address, options=Options(timeout_s=5)) as client:
        with pytest.raises(CallError, match="full"):
            await client.infer("echo", ["a"])
    assert len(one.hall.asks) == 1


async def test_the_time_of_a_call_that_was_too_short_is_no_fault_of_a_gateway(
    one: Gateway, two: Gateway
) -> None:
    one.block()
    async with AsyncClient(one.address, two.address) as client:
        for _ in range(5):
            with pytest.raises(DeadlineExceeded):
                await client.infer("echo", ["a"], timeout_s=0.05)
        one.unblock()
        assert (await client.infer("echo", ["a"])).outputs == ("a",)
    assert two.hall.asks == []


async def test_the_time_of_a_call_tells_of_a_frozen_gateway(one: Gateway, two: Gateway) -> None:
    one.freeze()
    async with AsyncClient(one.address, two.address, options=QUICK) as client:
        with pytest.raises(DeadlineExceeded):
            await client.infer("echo", ["a"], timeout_s=0.001)
        await asyncio.sleep(0.5)  # it is looked at meanwhile
        assert (await client.infer("echo", ["a"], timeout_s=CAP_S)).outputs == ("a",)


async def test_a_client_that_is_left_takes_its_request_back(one: Gateway) -> None:
    one.block()
    async with AsyncClient(one.address) as client:
        waiting = asyncio.create_task(client.infer("echo", ["a"]))
        await asyncio.to_thread(one.entered)
        waiting.cancel()
        await asyncio.to_thread(eventually, one.gone, "it is taken back")
    with pytest.raises(CallError, match="closed"):
        await client.infer("echo", ["a"])


def test_a_client_is_closed_while_callers_wait(one: Gateway) -> None:
    one.block()
    client = Client(one.address)
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(client.infer, "echo", [str(at)]) for at in range(8)]
        eventually(lambda: len(one.hall.asks) == 8, "all wait")
        client.close()
        errors = [each.exception(CAP_S) for each in waiting]
    assert [each.code for each in errors if isinstance(each, CallError)] == ["closed"] * 8
    with pytest.raises(CallError, match="closed"):
        client.infer("echo", ["a"])
    client.close()


def test_many_threads_share_a_client(one: Gateway) -> None:
    with Client(DEAD, one.address) as client, ThreadPoolExecutor(16) as pool:
        answers = [*pool.map(lambda at: client.infer("echo", [str(at)]).outputs, range(100))]
    assert answers == [(str(at),) for at in range(100)]


async def test_a_plain_client_works_where_a_loop_runs(one: Gateway) -> None:
    with Client(one.address) as client:
        assert client.infer("echo", ["a"]).outputs == ("a",)


def test_an_asyncio_client_goes_on_in_another_loop(one: Gateway) -> None:
    client = AsyncClient(one.address)
    for _ in range(2):
        assert asyncio.run(client.infer("echo", ["a"])).outputs == ("a",)


def test_nobody_there_is_told() -> None:
    with Client(DEAD, options=Options(attempts=2)) as client, pytest.raises(GatewayUnreachable):
        client.infer("echo", ["a"])
    for addresses in ((), ("http://localhost:8080",)):
        with pytest.raises(Invalid, match="host:port"):
            Client(*addresses)


def test_another_door_than_that_of_grpc_is_told_from_it(one: Gateway) -> None:
    with Shop(MemoryStore()) as http:
        for address, tls in ((http.address, False), (one.address, True)):
            options = Options(attempts=2, tls=tls)
            said = pytest.raises(GatewayUnreachable, match="is this its gRPC")
            with Client(address, options=options) as client, said:
                client.infer("echo", ["a"])


def test_progress_is_told_in_the_thread_that_waits(one: Gateway) -> None:
    one.hall.events = (said(0, "a"),)
    heard: list[tuple[object, int]] = []
    with Client(one.address) as client:

        def hear(piece: object) -> None:
            heard.append((piece, threading.get_ident()))
            client.status()  # a callback may ask

        answer = client.infer("echo", ["a"], on_progress=hear)
    assert answer.outputs == ("a",)
    assert heard == [(Text("a"), threading.get_ident())]


def test_what_a_callback_raises_ends_the_call(one: Gateway) -> None:
    one.hall.events = (said(0, "a"),)
    one.block()

    def hear(_: object) -> None:
        raise LookupError

    with Client(one.address) as client:
        with pytest.raises(LookupError):
            client.infer("echo", ["a"], on_progress=hear)
        eventually(one.gone, "it is taken back")
