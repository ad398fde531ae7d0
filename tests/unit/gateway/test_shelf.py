"""Large content at the doors: told with a URL, whole where there is no place for one."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import httpx
import pytest

from modelmora.errors import Code
from modelmora.gateway.caller import caller
from modelmora.gateway.doors.grpc.answers import whole
from modelmora.gateway.doors.rest.routes import create_app
from modelmora.gateway.hall import Ask
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.shelf import Shelf
from modelmora.messages import ObjectRef, SignedRef, Tensor
from modelmora.objects import stored_form
from modelmora.web.problems import DoorCode
from tests.unit.gateway.fakes import FakeHall

VECTORS = Tensor("embedding", "FP32", (1, 2), b"\x00\x00\x80\x3f\x00\x00\x00\x40")


@pytest.fixture
async def client(hall: FakeHall) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(hall, Metrics(), 1_000_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


def kept(hall: FakeHall, principal: str = "local") -> ObjectRef:
    form = stored_form(VECTORS)
    assert form
    assert hall.shelf.objects
    return hall.shelf.objects.put(*form, principal)


async def test_who_it_belongs_to_is_told_where_to_get_it(hall: FakeHall) -> None:
    ours, theirs = kept(hall), kept(hall, "bob")
    other = ObjectRef("s3://elsewhere/x", "0" * 64, 1, "text/plain", ours.expires_at)
    result = hall.shelf.signed(await hall.infer(Ask("t", "echo", (ours, theirs, other, "text"))))
    told, *rest = result.outputs
    assert isinstance(told, SignedRef)
    assert told.url.startswith("https://store.test/")
    assert rest == [theirs, other, "text"]
    message = whole(result)
    assert [part.object.url for part in message.outputs[:3]] == [told.url, "", ""]
    token = caller.set("bob")
    again = hall.shelf.signed(result).outputs
    caller.reset(token)
    assert isinstance(again[1], SignedRef)


@pytest.mark.parametrize(("accept", "size"), [("application/x-npy", 136), ("*/*", None)])
async def test_other_forms_are_whole(
    hall: FakeHall, client: httpx.AsyncClient, accept: str, size: int | None
) -> None:
    hall.outputs = (kept(hall),)
    headers = {"accept": accept}
    answer = await client.post("/infer/echo", json={"inputs": "a"}, headers=headers)
    assert answer.status_code == 200
    assert len(answer.content) == size or answer.json()["outputs"][0]["size"] == 8
    assert hall.held == 0


async def test_openais_clients_get_their_vectors(hall: FakeHall, client: httpx.AsyncClient) -> None:
    hall.outputs = (kept(hall),)
    answer = await client.post("/v1/embeddings", json={"model": "echo", "input": "a"})
    assert answer.json()["data"][0]["embedding"] == [1.0, 2.0]
    hall.limit = 1  # of bytes held
    answer = await client.post(
        "/infer/echo", json={"inputs": "a"}, headers={"accept": "application/x-npy"}
    )
    assert answer.status_code == 503


async def test_what_cannot_be_had_is_told_by_its_code(hall: FakeHall) -> None:
    async def code(ref: ObjectRef) -> str:
        with pytest.raises(Refusal) as refused:
            [piece async for piece in hall.shelf.chunks(ref)]
        return refused.value.code

    gone, theirs = kept(hall), kept(hall, "bob")
    assert await code(theirs) == Code.INVALID_INPUT
    hall.store.kept.clear()
    assert await code(gone) == DoorCode.GONE
    hall.store.down()
    assert await code(gone) == Code.STORE_UNAVAILABLE
    with pytest.raises(Refusal, match="no object store"):
        await Shelf().keep(b"x", "text/plain")


async def test_without_a_store_references_stay_as_they_are(hall: FakeHall) -> None:
    result = await hall.infer(Ask("t", "echo", (kept(hall),)))
    assert Shelf().signed(result) == result


async def test_a_place_is_given(hall: FakeHall, client: httpx.AsyncClient) -> None:
    sha256 = hashlib.sha256(b"a").hexdigest()
    answer = await client.post("/objects", json={"size": 1, "sha256": sha256})
    assert answer.status_code == 201
    told = answer.json()
    assert told["put"].startswith("https://store.test/")
    again = await client.post("/infer/echo", json={"inputs": [told["object"] | {"url": "x"}]})
    assert again.status_code == 200
    assert (await client.get("/objects/1/2/3")).status_code == 404  # they lie in another store
    for odd in ({"size": -1}, {"size": "1"}, {"media_type": "a\nb"}, {"sha256": "x"}, {"more": 1}):
        body = {"size": 1, "sha256": sha256, **odd}
        assert (await client.post("/objects", json=body)).status_code in (400, 413)
