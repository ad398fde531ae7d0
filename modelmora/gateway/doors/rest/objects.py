"""`POST /objects`, and what the signed URLs of objects in a folder lead to."""

from __future__ import annotations

import asyncio
import hashlib
import time
from pathlib import Path

from fastapi import FastAPI, Request
from pydantic import BaseModel, Field
from starlette.responses import FileResponse, JSONResponse, Response

from modelmora.errors import Code, NotFound, Unreachable
from modelmora.gateway.doors.rest import described
from modelmora.gateway.doors.rest.bodies import ObjectBody, read_body
from modelmora.gateway.doors.rest.reading import BODY_S, Bodies
from modelmora.gateway.hall import Hall
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import Refusal
from modelmora.objects.folder import FolderStore
from modelmora.objects.signing import PATH, Grant, read_grant
from modelmora.objects.store import Full, Verb
from modelmora.text import size as as_size
from modelmora.web.problems import DoorCode
from modelmora.wire.forms import JsonObjectRef, content_form

BODY_BYTES = 1 << 14
SLOWEST = 64 << 10
"""Bytes that an upload has to come on with in a second, beside a start of `BODY_S`."""
_EXAMPLE = {
    "media_type": "image/png",
    "size": 5_000_000,
    "sha256": hashlib.sha256(b"").hexdigest(),
}
_SAFE = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; sandbox",
    "cache-control": "private, immutable",
}


class ObjectAnswer(BaseModel):
    """Where to put it, and what stands for it then."""

    object: JsonObjectRef = Field(description="To be given as an input, once it is there")
    put: str = Field(description="PUT the bytes here, until the object expires")


def add_objects(app: FastAPI, hall: Hall, metrics: Metrics) -> None:
    """Serve them."""
    bodies = Bodies(hall, metrics, "rest", BODY_BYTES)

    @app.post(
        "/objects",
        summary="Get a place for a large input",
        description="The answer has a URL to PUT the bytes to, and the reference to give as an "
        "input then. Only the principal that asks may use it.",
        response_description="The place.",
        response_model=ObjectAnswer,
        status_code=201,
        responses=described.problem_responses(),
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {
                        "schema": {"$ref": "#/components/schemas/ObjectBody"},
                        "example": _EXAMPLE,
                    }
                },
            }
        },
        tags=["infer"],
    )
    async def announce(request: Request) -> Response:
        async with bodies.of(request) as body:
            told = read_body(ObjectBody, body)
            place = hall.shelf.announce(told.sha256, told.size, told.media_type)
        return JSONResponse({"object": content_form(place.ref), "put": place.url}, 201)

    @app.put(PATH + "{name:path}", include_in_schema=False)
    async def put(request: Request) -> Response:
        folder, grant = _granted(hall, request, "PUT")
        await _receive(folder, grant, request)
        return Response(status_code=201)

    @app.get(PATH + "{name:path}", include_in_schema=False)
    async def get(request: Request) -> Response:
        folder, grant = _granted(hall, request, "GET")
        try:
            path = folder.path(grant.name)
        except NotFound as error:
            raise Refusal(DoorCode.GONE, str(error)) from None
        return _answer(path, grant)


def _granted(hall: Hall, request: Request, verb: Verb) -> tuple[FolderStore, Grant]:
    """What the URL allows, of which folder. Raises Refusal."""
    folder = hall.shelf.folder
    if folder is None:
        raise Refusal(DoorCode.NOT_FOUND, "no objects are served here; see objects.store")
    name = request.path_params["name"]
    grant = read_grant(verb, name, request.query_params, folder.secret, time.time() * 1000)
    if grant is None:
        raise Refusal(
            Code.FORBIDDEN,
            f"this URL does not allow {verb}, or its time is over; ask for the result again",
        )
    return folder, grant


def _answer(path: Path, grant: Grant) -> Response:
    sha256 = grant.name.rpartition("/")[2]
    headers = {**_SAFE, "etag": f'"{sha256}"', "content-disposition": "attachment"}
    return FileResponse(path, headers=headers, media_type=grant.media_type)


async def _receive(folder: FolderStore, grant: Grant, request: Request) -> None:
    """Write what comes, unless it is other than what was announced. Raises Refusal."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > grant.size:
        raise _other(grant)
    try:
        await asyncio.to_thread(folder.reserve, grant.size)
        with folder.incoming() as (file, path):
            digest, came = hashlib.sha256(), 0
            async with asyncio.timeout(BODY_S + grant.size / SLOWEST):
                async for chunk in request.stream():
                    came += len(chunk)
                    if came > grant.size:
                        raise _other(grant)
                    digest.update(chunk)
                    await asyncio.to_thread(file.write, chunk)
            if came != grant.size or digest.hexdigest() != grant.name.rpartition("/")[2]:
                raise _other(grant)
            await asyncio.to_thread(folder.put, grant.name, path, grant.media_type)
    except TimeoutError:
        raise Refusal(DoorCode.TOO_SLOW, "the object did not come in time; put it again") from None
    except Full as error:
        raise Refusal(Code.TOO_LARGE, str(error)) from None
    except (Unreachable, OSError) as error:
        why = str(error) if isinstance(error, Unreachable) else "the folder cannot be written"
        raise Refusal(Code.STORE_UNAVAILABLE, why) from None


def _other(grant: Grant) -> Refusal:
    return Refusal(
        Code.INVALID_INPUT,
        f"what came is not what was announced: {as_size(grant.size)} of that sha256",
    )
