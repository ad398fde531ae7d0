"""Batches and streams of MiraVeja: their order, their bounds, and what fails in them."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio

from modelmora.gateway.doors.miraveja.flows import FAILED, IN_FLIGHT
from modelmora.gateway.hall import Ask
from tests.miraveja import Client
from tests.unit.gateway.fakes import FakeHall
from tests.unit.gateway.miraveja.rig import TEXTS, code_of, refused


async def test_a_batch_answers_in_its_order(hall: FakeHall, channel: Any, client: Client) -> None:
    texts = [f"text {number}" for number in range(3 * IN_FLIGHT)]
    batch = client.call(channel, TEXTS, "GenerateBatchTextEmbeddings")
    request = client.BatchTextEmbeddingRequest(request_id="r", texts=texts)
    found = [each async for each in batch(request)]
    assert [each.text for each in found] == texts
    assert {each.request_id for each in found} == {"r"}
    assert hall.held == 0


async def test_no_more_of_a_batch_is_under_way_than_may_be(
    hall: FakeHall, channel: Any, client: Client
) -> None:
    hall.blocked = asyncio.Event()
    batch = client.call(channel, "ImageGenerationService", "GenerateBatchImages")
    prompts = [{"prompt": f"{number}"} for number in range(2 * IN_FLIGHT)]
    call = batch(client.BatchImageGenerationRequest(batch_parameters=prompts))
    reading = asyncio.ensure_future(call.read())
    async with asyncio.timeout(60):
        while len(hall.asks) < IN_FLIGHT:
            await hall.entered.wait()
            hall.entered.clear()
    assert len(hall.asks) == IN_FLIGHT
    reading.cancel()
    call.cancel()
    async with asyncio.timeout(60):
        await hall.gone.wait()


async def test_a_bad_item_of_a_batch_costs_no_other(
    hall: FakeHall, channel: Any, client: Client
) -> None:
    hall.refuses = lambda ask: str(ask.inputs[0]).startswith("bad")
    batch = client.call(channel, TEXTS, "GenerateBatchTextEmbeddings")
    call = batch(client.BatchTextEmbeddingRequest(texts=["a", "bad", "b", "bad too", "c"]))
    assert [(await call.read()).text for _ in range(3)] == ["a", "b", "c"]
    error = await refused(call.read())
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    told = dict(error.trailing_metadata())
    assert told[FAILED] == "1=busy,3=busy"
    assert told["modelmora-retry-after-ms"] == "1000"
    empty = batch(client.BatchTextEmbeddingRequest())
    assert code_of(await refused(empty.read())) == "invalid_input"


async def test_a_stream_answers_as_they_come(hall: FakeHall, channel: Any, client: Client) -> None:
    stream = client.call(channel, TEXTS, "GenerateTextEmbeddingStream")()
    for mark in ("first", "second"):
        await stream.write(client.TextEmbeddingRequest(request_id=mark, text=mark))
        found = await stream.read()
        assert (found.request_id, found.text) == (mark, mark)
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF
    assert await stream.code() is grpc.StatusCode.OK


async def test_a_stream_is_read_no_faster_than_it_is_answered(
    hall: FakeHall, channel: Any, client: Client
) -> None:
    hall.blocked = asyncio.Event()
    stream = client.call(channel, TEXTS, "GenerateTextEmbeddingStream")()
    count = 3 * IN_FLIGHT
    for number in range(count):
        await stream.write(client.TextEmbeddingRequest(request_id=str(number), text="x"))
    await stream.done_writing()
    async with asyncio.timeout(60):
        while len(hall.asks) < IN_FLIGHT:
            await hall.entered.wait()
            hall.entered.clear()
    assert len(hall.asks) == IN_FLIGHT
    hall.blocked.set()
    found = {each.request_id async for each in stream}
    assert found == {str(number) for number in range(count)}
    assert hall.held == 0


async def test_a_bad_item_ends_its_stream_behind_what_was_begun(
    hall: FakeHall, channel: Any, client: Client
) -> None:
    met, hall.blocked = asyncio.Event(), asyncio.Event()

    def is_bad(ask: Ask) -> bool:
        if bad := ask.inputs == ("bad",):
            met.set()
        return bad

    hall.refuses = is_bad
    stream = client.call(channel, TEXTS, "GenerateTextEmbeddingStream")()
    await stream.write(client.TextEmbeddingRequest(request_id="good", text="good"))
    async with asyncio.timeout(60):
        await hall.entered.wait()
    await stream.write(client.TextEmbeddingRequest(request_id="é=,", text="bad"))
    async with asyncio.timeout(60):
        await met.wait()
    hall.blocked.set()
    assert (await stream.read()).request_id == "good"
    # Its caller has not said that it sends no more, and waits.
    error = await refused(stream.read())
    assert dict(error.trailing_metadata())[FAILED] == "%C3%A9%3D%2C=busy"


async def test_our_own_fault_is_kept_quiet(hall: FakeHall, channel: Any, client: Client) -> None:
    hall.refusal = ValueError("of the inside")
    one = client.call(channel, TEXTS, "GenerateTextEmbedding")
    batch = client.call(channel, TEXTS, "GenerateBatchTextEmbeddings")
    stream = client.call(channel, TEXTS, "GenerateTextEmbeddingStream")
    request = client.TextEmbeddingRequest(text="x")
    for call in (
        one(request),
        batch(client.BatchTextEmbeddingRequest(texts=["x", "y"])).read(),
        stream(iter([request])).read(),
    ):
        error = await refused(call)
        assert (error.code(), code_of(error)) == (grpc.StatusCode.INTERNAL, "internal")
        assert "inside" not in str(error.details())
    assert hall.held == 0


async def test_who_hangs_up_cancels_what_was_begun(
    hall: FakeHall, channel: Any, client: Client
) -> None:
    hall.blocked = asyncio.Event()
    one = client.call(channel, TEXTS, "GenerateTextEmbedding")(
        client.TextEmbeddingRequest(text="x")
    )
    stream = client.call(channel, TEXTS, "GenerateTextEmbeddingStream")()
    await stream.write(client.TextEmbeddingRequest(text="x"))
    async with asyncio.timeout(60):
        while len(hall.asks) < 2:
            await hall.entered.wait()
            hall.entered.clear()
    for call in (one, stream):
        call.cancel()
        async with asyncio.timeout(60):
            await hall.gone.wait()
        hall.gone.clear()
