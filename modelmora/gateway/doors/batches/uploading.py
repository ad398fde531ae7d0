"""A file that comes as a part of a form: written as it comes, and kept."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import BinaryIO

from starlette.requests import Request

from modelmora.errors import Code
from modelmora.gateway.batches.state import INPUT, KEPT_MS, File
from modelmora.gateway.doors.batches.multipart import Form, Head
from modelmora.gateway.doors.rest.objects import SLOWEST
from modelmora.gateway.doors.rest.reading import BODY_S
from modelmora.gateway.doors.tellings import whole
from modelmora.gateway.hall import Batches, Hall
from modelmora.gateway.outcomes import Refusal
from modelmora.text import printable, shorten
from modelmora.text import size as as_size
from modelmora.web.problems import DoorCode

FILE_BYTES = 200_000_000
MOST_FIELD = 1024
MOST_AT_ONCE = 8
LONGEST_NAME = 255
_FORM_BYTES = 64 << 10
"""What a form may have beside its file."""
_FIELDS = ("purpose", "expires_after[anchor]", "expires_after[seconds]")
_turns = asyncio.Semaphore(MOST_AT_ONCE)


async def upload(hall: Hall, request: Request) -> File:
    """The file in the form of this request, kept. Raises Refusal, ClientDisconnect."""
    # A page of any site may send a form here unasked, where browsers know the way.
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise Refusal(Code.FORBIDDEN, "files are not taken from pages of other sites")
    form = Form(request.headers.get("content-type", ""))
    most = min(FILE_BYTES, hall.shelf.most_bytes)
    declared = request.headers.get("content-length", "")
    coming = int(declared) if declared.isdecimal() and len(declared) < 16 else most
    if coming > most + _FORM_BYTES:
        raise _too_large(most)
    if _turns.locked():
        raise Refusal(Code.BUSY, "too many files are coming at once; try again a little later")
    async with _turns:
        with hall.shelf.incoming(min(coming, most)) as (file, path):
            try:
                async with asyncio.timeout(BODY_S + coming / SLOWEST):
                    told = await _take(form, request, file, most)
            except TimeoutError:
                message = "the file did not come in time; send it again"
                raise Refusal(DoorCode.TOO_SLOW, message) from None
            return await _keep(hall.batches, told, path)


async def _keep(register: Batches, told: dict[str, str], path: Path) -> File:
    if told.get("purpose") != INPUT:
        raise Refusal(Code.INVALID_INPUT, f"purpose: is {INPUT}")
    if "file" not in told:
        raise Refusal(Code.INVALID_INPUT, "file: is missing")
    seconds = told.get("expires_after[seconds]", "")
    kept_ms = KEPT_MS
    if seconds:
        if not (seconds.isascii() and seconds.isdecimal() and int(seconds[:10]) >= 3600):
            raise Refusal(Code.INVALID_INPUT, "expires_after.seconds: is 3600 at least")
        kept_ms = int(seconds[:10]) * 1000
    return await register.add_file(path, told["file"], kept_ms)


async def _take(form: Form, request: Request, file: BinaryIO, most: int) -> dict[str, str]:
    """The fields of the form by their names, of the file its name; its bytes go where they go."""
    fields: dict[str, bytearray] = {}
    names: dict[str, str] = {}
    part, size = "", 0
    async for chunk in request.stream():
        for piece in form.feed(chunk):
            if isinstance(piece, Head):
                part = _known(piece, {*fields, *names})
                if part == "file":
                    names[part] = shorten(printable(piece.filename or "file"), LONGEST_NAME)
                else:
                    fields[part] = bytearray()
            elif part == "file":
                size += len(piece)
                if size > most:
                    raise _too_large(most)
                await asyncio.to_thread(file.write, piece)
            else:
                fields[part] += piece
                if len(fields[part]) > MOST_FIELD:
                    raise Refusal(Code.INVALID_INPUT, f"{part}: is too long")
    whole(request.scope)
    if not form.ended:
        raise Refusal(Code.INVALID_INPUT, "the form ends too early")
    file.flush()
    return names | {name: bytes(value).decode("utf-8", "replace") for name, value in fields.items()}


def _known(head: Head, before: set[str]) -> str:
    if head.name not in ("file", *_FIELDS):
        shown = shorten(printable(head.name), MOST_FIELD)
        raise Refusal(Code.INVALID_INPUT, f"{shown}: is no field here")
    if head.name in before:
        raise Refusal(Code.INVALID_INPUT, f"{head.name}: is there twice")
    return head.name


def _too_large(most: int) -> Refusal:
    message = f"a file has {as_size(most)} at most; send its requests in several"
    return Refusal(Code.TOO_LARGE, message)
