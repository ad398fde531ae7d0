"""Outputs on their way to a store that may not answer, may be full, or may take its time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from modelmora.errors import Code, RequestError
from modelmora.messages import ChatMessage, ObjectRef, Tensor
from modelmora.objects import Full, content_of
from modelmora.objects.folder import FolderStore
from modelmora.objects.moving import Moving
from modelmora.testing.objects import MemoryStore
from modelmora.wire import decode_outputs, encode_outputs
from tests.unit.objects.stores import objects_on, until

INLINE = 4096
LARGE = b"x" * 100_000


class Desk:
    """Outputs that are moved on a store in memory."""

    def __init__(self, folder: Path, quota: int = 1 << 30, retry_s: float = 30) -> None:
        self.store = MemoryStore()
        objects = objects_on(self.store, inline_bytes=INLINE, retry_s=retry_s)
        self.spill = folder / "spill"
        self.moving = Moving(objects, FolderStore(self.spill, quota))
        self.owed = True

    def begin(self, *outputs: object) -> asyncio.Future[bytes | RequestError]:
        told: asyncio.Future[bytes | RequestError] = asyncio.get_running_loop().create_future()
        encoded = encode_outputs(outputs)  # type: ignore[arg-type]
        self.moving.move(encoded, "ann", lambda: self.owed, told.set_result)
        return told

    async def moved(self, *outputs: object) -> bytes | RequestError:
        return await asyncio.wait_for(self.begin(*outputs), 30)

    @property
    def spilled(self) -> list[Path]:
        return [*(self.spill / "incoming").glob("*")]


def failure(told: bytes | RequestError) -> tuple[Code, str]:
    assert isinstance(told, RequestError)
    return told.code, told.message


async def test_only_what_is_too_large_goes(tmp_path: Path) -> None:
    desk, vectors = Desk(tmp_path), Tensor("v", "FP32", (2, 500), bytes(4000))
    told = await desk.moved("small", LARGE, vectors, ChatMessage("assistant", "hello"))
    assert isinstance(told, bytes)
    small, large, tensor, turn = decode_outputs(told)
    assert (small, turn) == ("small", ChatMessage("assistant", "hello"))
    for ref, content in ((large, LARGE), (tensor, vectors)):
        assert isinstance(ref, ObjectRef)
        data, media = desk.store.kept[ref.uri]
        assert (content_of(data, media), media) == (content, ref.media_type)
    assert desk.moving.held_bytes == 0


async def test_a_store_that_is_down_is_waited_for_and_nothing_is_lost(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.store.down()
    told = desk.begin(LARGE)
    await until(lambda: desk.store.asked > 1)
    assert [path.read_bytes() for path in desk.spilled] == [LARGE]
    desk.store.fault = None
    (ref,) = decode_outputs(await told)  # type: ignore[arg-type]
    assert isinstance(ref, ObjectRef)
    assert desk.store.kept[ref.uri][0] == LARGE
    assert desk.spilled == []


async def test_a_store_that_is_down_is_logged_once_for_all_who_wait(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    with capture_logs() as logged:
        for outage in (1, 2):
            desk.store.down()
            asked = desk.store.asked + 5
            told = [desk.begin(LARGE) for _ in range(3)]
            while desk.store.asked < asked:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.01)
            desk.store.fault = None
            await asyncio.gather(*told)
            assert [line["log_level"] for line in logged] == ["warning", "info"] * outage


async def test_one_that_stays_down_is_told(tmp_path: Path) -> None:
    desk = Desk(tmp_path, retry_s=0)
    desk.store.down()
    code, message = failure(await desk.moved(LARGE))
    assert code is Code.STORE_UNAVAILABLE
    assert "does not answer" in message
    assert desk.spilled == []


@pytest.mark.row("F12", "F13")
async def test_without_room_to_wait_it_fails_at_once(tmp_path: Path) -> None:
    desk = Desk(tmp_path, quota=1000)
    desk.store.down()
    code, message = failure(await desk.moved(LARGE))
    assert code is Code.TOO_LARGE
    assert "quota_bytes" in message
    desk.store.fault = Full("the bucket is full")
    assert failure(await desk.moved(LARGE)) == (
        Code.TOO_LARGE,
        "the bucket is full; send it in parts",
    )


async def test_many_small_outputs_do_not_become_as_many_objects(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert failure(await desk.moved(*["x" * 100] * 1000))[0] is Code.TOO_LARGE
    assert desk.store.kept == {}


async def test_what_nobody_owes_any_more_is_not_told(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.store.down()
    told = desk.begin(LARGE)
    await until(lambda: desk.store.asked > 0)
    desk.owed = False
    await desk.moving.drain(30)
    assert not told.done()
    assert desk.spilled == []


async def test_a_stop_leaves_what_is_on_its_way(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.store.down()
    told = desk.begin(LARGE)
    await until(lambda: desk.store.asked > 1)
    await desk.moving.drain(0.01)
    await desk.moving.stop()
    await until(lambda: desk.spilled == [])
    assert not told.done()


async def test_a_fault_of_ours_is_an_outcome_too(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.store.fault = KeyError("never")
    assert failure(await desk.moved(LARGE))[0] is Code.INFERENCE_FAILED
    told: asyncio.Future[bytes | RequestError] = asyncio.get_running_loop().create_future()
    desk.moving.move(b"\xff" * 99, "ann", lambda: True, told.set_result)
    assert failure(await told)[0] is Code.UNDECODABLE


@pytest.mark.parametrize("size", [INLINE - 200, INLINE + 1, 3 * INLINE])
async def test_what_comes_back_fits(tmp_path: Path, size: int) -> None:
    told = await Desk(tmp_path).moved("a" * size, "b" * 900)
    assert isinstance(told, bytes)
    assert len(told) <= INLINE
