"""The paths of files and batches: OpenAI's bodies to the register and back."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import orjson
from fastapi import FastAPI, Request
from starlette.responses import Response, StreamingResponse

from modelmora.errors import Code
from modelmora.gateway.batches.register import JSONL
from modelmora.gateway.batches.state import INPUT, OUTPUT, File
from modelmora.gateway.doors.batches import described
from modelmora.gateway.doors.batches.described import BatchBody
from modelmora.gateway.doors.batches.shown import batch_form, file_form, page_of
from modelmora.gateway.doors.batches.uploading import upload
from modelmora.gateway.doors.rest.bodies import read_body
from modelmora.gateway.doors.rest.reading import Bodies
from modelmora.gateway.hall import Hall
from modelmora.gateway.outcomes import Refusal

_SAFE = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; sandbox",
    "cache-control": "private",
}


def add_batches(app: FastAPI, bodies: Bodies) -> None:
    """Serve `/v1/files` and `/v1/batches`."""
    _add_files(app, bodies.hall)
    _add_batches(app, bodies)


def _add_files(app: FastAPI, hall: Hall) -> None:
    register = hall.batches

    @app.post("/v1/files", name="openai_upload", **described.UPLOAD)
    async def take(request: Request) -> Response:
        return _json(file_form(await upload(hall, request)))

    @app.get("/v1/files", name="openai_files", **described.FILES)
    async def files(request: Request) -> Response:
        purpose = request.query_params.get("purpose")
        if purpose not in (None, INPUT, OUTPUT):
            raise Refusal(Code.INVALID_INPUT, f"purpose: is one of {INPUT}, {OUTPUT}")
        found = [each for each in register.files() if purpose in (None, each.purpose)]
        return _json(page_of(found, request.query_params, file_form, limit=10_000, most=10_000))

    @app.get("/v1/files/{file_id}", name="openai_file", **described.FILE)
    async def file(request: Request) -> Response:
        return _json(file_form(await register.file(request.path_params["file_id"])))

    @app.get("/v1/files/{file_id}/content", name="openai_file_content", **described.CONTENT)
    async def content(request: Request) -> Response:
        found = await register.file(request.path_params["file_id"])
        coming = register.content(found)
        # What is refused at once is told by a status.
        first = await anext(coming, b"")
        return _Content(found, first, coming)

    @app.delete("/v1/files/{file_id}", name="openai_delete_file", **described.DELETE)
    async def delete(request: Request) -> Response:
        file_id = request.path_params["file_id"]
        await register.delete_file(file_id)
        return _json({"id": file_id, "object": "file", "deleted": True})


def _add_batches(app: FastAPI, bodies: Bodies) -> None:
    register = bodies.hall.batches

    @app.post("/v1/batches", name="openai_create_batch", **described.CREATE)
    async def create(request: Request) -> Response:
        async with bodies.of(request) as raw:
            body = read_body(BatchBody, raw, frozenset({"output_expires_after"}))
        made = await register.create(body.input_file_id, body.endpoint, body.metadata)
        return _json(batch_form(made))

    @app.get("/v1/batches", name="openai_batches", **described.BATCHES)
    async def batches(request: Request) -> Response:
        found = register.batches()
        return _json(page_of(found, request.query_params, batch_form, limit=20, most=100))

    @app.get("/v1/batches/{batch_id}", name="openai_batch", **described.BATCH)
    async def batch(request: Request) -> Response:
        return _json(batch_form(await register.batch(request.path_params["batch_id"])))

    @app.post("/v1/batches/{batch_id}/cancel", name="openai_cancel_batch", **described.CANCEL)
    async def cancel(request: Request) -> Response:
        return _json(batch_form(await register.cancel(request.path_params["batch_id"])))


class _Content(StreamingResponse):
    """A file's bytes, as fast as they are taken."""

    def __init__(self, file: File, first: bytes, coming: AsyncGenerator[bytes]) -> None:
        headers = {**_SAFE, "content-length": str(file.size), "content-disposition": "attachment"}
        super().__init__(_behind(first, coming), headers=headers, media_type=JSONL)


async def _behind(first: bytes, coming: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    async with aclosing(coming):
        yield first
        async for piece in coming:
            yield piece


def _json(body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
