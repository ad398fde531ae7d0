"""The forms of an answer: numpy's own reader, bytes, a picture, events."""

from __future__ import annotations

import base64
import io
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest

from modelmora.errors import Code
from modelmora.gateway.doors.rest.forms import form_of, npy
from modelmora.gateway.doors.rest.routes import create_app
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import Refusal
from modelmora.messages import ProgressEvent, ProgressStage, Tensor
from modelmora.wire.tensors import BadTensor
from tests.unit.gateway.fakes import FakeHall

PNG = b"\x89PNG and more"
VECTORS = Tensor("embedding", "FP32", (2, 3), struct.pack("<6f", *range(6)))


@pytest.fixture
async def client(hall: FakeHall) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(hall, Metrics(), 10_000)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield client


async def asked(client: httpx.AsyncClient, accept: str, model: str = "echo") -> httpx.Response:
    return await client.post(f"/infer/{model}", json={"inputs": "x"}, headers={"accept": accept})


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/html, IMAGE/PNG;q=0.9", "image/png"),
        ("text/html, image/avif, image/png, */*;q=0.8", "image/png"),
        ("image/png, */*", "application/json"),
        ("image/png;q=0, application/json", "application/json"),
        ("application/json;q=0.1, text/event-stream", "text/event-stream"),
        ("application/x-npy;q=much", "application/x-npy"),
        ("application/json, image/png", "application/json"),
        ("application/x-npy", "application/x-npy"),
        ("Application/JSON;tensors=base64, application/x-npy", "application/json; tensors=base64"),
        ("application/json;tensors=base64;q=0.1, application/x-npy", "application/x-npy"),
        ("application/json;tensors=hex", "application/json"),
    ],
)
def test_the_first_form_that_there_is(accept: str, form: str) -> None:
    assert form_of(accept) == form


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [("FP32", "<f4"), ("FP16", "<f2"), ("INT64", "<i8"), ("UINT8", "|u1"), ("BOOL", "|b1")],
)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 4)])
def test_numpy_reads_what_is_written(dtype: str, kind: str, shape: tuple[int, ...]) -> None:
    wanted = np.ones(shape, np.dtype(kind))
    file = npy(Tensor("t", dtype, shape, wanted.tobytes()))
    found = np.load(io.BytesIO(file), allow_pickle=False)
    assert (found.dtype, found.shape) == (wanted.dtype, shape)
    assert (found == wanted).all()


async def test_what_numpy_has_no_type_for(hall: FakeHall, client: httpx.AsyncClient) -> None:
    hall.outputs = (Tensor("t", "BF16", (1,), b"\0\0"),)
    answer = await asked(client, "application/x-npy")
    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")
    with pytest.raises(BadTensor):
        npy(Tensor("t", "FP32", (2,), b"too few"))


async def test_vectors_as_a_file_and_as_bytes(hall: FakeHall, client: httpx.AsyncClient) -> None:
    hall.outputs = (VECTORS,)
    file = await asked(client, "application/x-npy")
    assert np.load(io.BytesIO(file.content)).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert (file.headers["content-type"], file.headers["vary"]) == ("application/x-npy", "accept")
    raw = await asked(client, "application/octet-stream")
    assert raw.content == VECTORS.data
    assert (raw.headers["modelmora-dtype"], raw.headers["modelmora-shape"]) == ("FP32", "2,3")


async def test_vectors_as_base64_and_back(hall: FakeHall, client: httpx.AsyncClient) -> None:
    hall.outputs = (VECTORS,)
    answer = await asked(client, "application/json; tensors=base64")
    (output,) = answer.json()["outputs"]
    assert base64.b64decode(output["data"]["bytes"]) == VECTORS.data
    assert (await client.post("/infer/echo", json={"inputs": [output]})).status_code == 200
    assert hall.asks[-1].inputs == (VECTORS,)
    short = {**output, "shape": [3, 3]}
    answer = await client.post("/infer/echo", json={"inputs": [short]})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")


async def test_a_picture_as_it_is(hall: FakeHall, client: httpx.AsyncClient) -> None:
    hall.outputs = (PNG,)
    for form in ("image/png", "application/octet-stream"):
        answer = await asked(client, form)
        assert (answer.content, answer.headers["content-type"]) == (PNG, form)
        assert answer.headers["x-request-id"] == "made-here"


@pytest.mark.parametrize("form", ["image/png", "application/x-npy", "application/octet-stream"])
async def test_an_answer_of_another_kind_is_not_bent(
    form: str, hall: FakeHall, client: httpx.AsyncClient
) -> None:
    hall.outputs = ("a text",)
    answer = await asked(client, form)
    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")
    assert answer.json()["request_id"] == "made-here", "its outcome can still be read by it"


def events_of(answer: httpx.Response) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for event in answer.text.split("\n\n")[:-1]:
        name, data = event.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


async def test_events_until_the_result(hall: FakeHall, client: httpx.AsyncClient) -> None:
    def event(stage: ProgressStage, **more: Any) -> ProgressEvent:
        return ProgressEvent("made-here", stage, "echo@1", **more)

    hall.events = (
        event(ProgressStage.ACCEPTED, position=2, estimate_ms=7.5),
        event(ProgressStage.CHUNK, chunk="né".encode(), sequence=0),
        event(ProgressStage.CHUNK, step=1, steps=2),
    )
    hall.outputs = ("né",)
    answer = await asked(client, "text/event-stream")
    assert answer.headers["content-type"].startswith("text/event-stream")
    same = {"request_id": "made-here", "model": "echo@1", "attempt": 1}
    *progress, (last, result) = events_of(answer)
    assert progress == [
        ("progress", same | {"stage": "ACCEPTED", "position": 2, "estimate_ms": 7.5}),
        ("progress", same | {"stage": "CHUNK", "sequence": 0, "text": "né"}),
        ("progress", same | {"stage": "CHUNK", "step": 1, "steps": 2}),
    ]
    assert (last, result["outputs"]) == ("result", ["né"])
    assert hall.asks[0].progress


@pytest.mark.parametrize(
    ("chunks", "closing"),
    [
        ([(0, "one "), (1, "two")], []),
        ([(0, "one ")], [(1, "two")]),
        ([(0, "one "), (2, "lost before")], [(0, "one two")]),
        ([(0, "another")], [(0, "one two")]),
        ([], []),
    ],
    ids=["whole", "its end came late", "a gap", "came out otherwise", "nothing told"],
)
async def test_the_chunks_of_a_text_are_the_whole(
    chunks: list[tuple[int, str]],
    closing: list[tuple[int, str]],
    hall: FakeHall,
    client: httpx.AsyncClient,
) -> None:
    hall.outputs = ("one two",)
    hall.events = tuple(
        ProgressEvent(
            "made-here", ProgressStage.CHUNK, "echo@1", chunk=text.encode(), sequence=number
        )
        for number, text in chunks
    )
    *progress, (last, _) = events_of(await asked(client, "text/event-stream"))
    assert [(told["sequence"], told["text"]) for _, told in progress] == [*chunks, *closing]
    assert last == "result"


async def test_what_fails_on_the_way_is_the_last_event(
    hall: FakeHall, client: httpx.AsyncClient
) -> None:
    hall.events = (ProgressEvent("made-here", ProgressStage.STARTED, "echo@1"),)
    hall.refusal = Refusal(Code.WORKER_CRASH, "it died")
    _, (name, problem) = events_of(await asked(client, "text/event-stream"))
    assert (name, problem["code"]) == ("problem", "worker_crash")


async def test_what_is_refused_at_once_has_a_status(client: httpx.AsyncClient) -> None:
    answer = await asked(client, "text/event-stream", "none")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_model")
