"""The paths under `/api`: Ollama's bodies to the hall and back, no logic of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import orjson
import structlog
from fastapi import FastAPI, Request
from starlette.datastructures import Headers
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from modelmora.errors import Code
from modelmora.gateway.doors.oip.models import order
from modelmora.gateway.doors.ollama import answers, described
from modelmora.gateway.doors.ollama.bodies import (
    ChatBody,
    EmbedBody,
    GenerateBody,
    OldEmbedBody,
    Sampled,
    ShowBody,
)
from modelmora.gateway.doors.openai.answers import text_of
from modelmora.gateway.doors.openai.streams import Piece, pieces
from modelmora.gateway.doors.rest.bodies import read_body
from modelmora.gateway.doors.rest.reading import Bodies, only_json, unless_gone
from modelmora.gateway.hall import Ask
from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.watching import failed
from modelmora.messages import Content, ControlVerb, Parameter
from modelmora.web.problems import DoorCode, trace_of

log = structlog.get_logger(__name__)
DOOR = "ollama"
NDJSON = "application/x-ndjson"
REFUSED = ("pull", "push", "create", "copy", "delete", "blobs/{digest}")
Told = Callable[[str], dict[str, Any]]


def add_ollama(app: FastAPI, bodies: Bodies) -> None:
    """Serve `/api`."""
    _add_models(app, bodies)
    _add_texts(app, bodies)
    _add_vectors(app, bodies)
    for name in REFUSED:
        _refuse(app, name)


def _add_models(app: FastAPI, bodies: Bodies) -> None:
    hall = bodies.hall

    @app.get("/api/version", name="ollama_version", **described.VERSION)
    async def version() -> Response:
        return _json({"version": answers.API})

    @app.get("/api/tags", name="ollama_tags", **described.TAGS)
    async def tags() -> Response:
        return _json({"models": answers.listed(hall)})

    @app.get("/api/ps", name="ollama_ps", **described.PS)
    async def running() -> Response:
        return _json({"models": answers.running(hall)})

    @app.post("/api/show", name="ollama_show", **described.SHOW)
    async def show(request: Request) -> Response:
        async with bodies.of(request) as raw:
            body = read_body(ShowBody, raw)
            record = answers.found(hall.models(), hall, body.model)
            if record is None:
                raise Refusal(DoorCode.NOT_FOUND, "there is no such model; see /api/tags")
        return _json(answers.shown(record))


def _add_texts(app: FastAPI, bodies: Bodies) -> None:
    def responded(text: str) -> dict[str, Any]:
        return {"response": text}

    def said(text: str) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text}}

    @app.post("/api/generate", name="ollama_generate", **described.GENERATE)
    async def generate(request: Request) -> Response:
        return await _write(bodies, request, GenerateBody, responded)

    @app.post("/api/chat", name="ollama_chat", **described.CHAT)
    async def chat(request: Request) -> Response:
        return await _write(bodies, request, ChatBody, said)


async def _write(bodies: Bodies, request: Request, kind: type[Sampled], told: Told) -> Response:
    async with bodies.of(request) as raw:
        body = read_body(kind, raw)
        name, inputs, parameters = body.model, body.asked(), body.parameters()
    shown = body.shown
    if not inputs:
        lets_go = parameters.get("keep_alive") == 0
        verb = ControlVerb.UNLOAD if lets_go else ControlVerb.LOAD
        await unless_gone(order(bodies.hall, verb, name), request.receive)
        reason = "unload" if lets_go else "load"
        return _json({**answers.head(shown), **told(""), "done": True, "done_reason": reason})
    ask = _ask(request, name, inputs, parameters, progress=body.stream)
    if not body.stream:
        result = await unless_gone(bodies.hall.infer(ask), request.receive)
        return _json({**answers.head(shown), **told(text_of(result)), **answers.end(result)})
    coming = pieces(bodies.hall, [ask])
    # What is refused at once is told by a status; what fails later, within the stream.
    first = await unless_gone(anext(coming), request.receive)
    return _Lines(_lines(shown, told, first, coming))


async def _lines(
    model: str, told: Told, first: Piece | None, coming: AsyncGenerator[Piece | None]
) -> AsyncGenerator[bytes]:
    """A line for each piece, and a last one that says how it was."""
    piece = first
    async with aclosing(coming):
        try:
            while True:
                if piece and piece.text:
                    yield _line({**answers.head(model), **told(piece.text), "done": False})
                if piece and piece.result:
                    yield _line({**answers.head(model), **told(""), **answers.end(piece.result)})
                    return
                piece = await anext(coming)
        except Refusal as refusal:
            yield _line(answers.error_of(refusal))
        except Exception:
            yield _line(answers.error_of(failed()))
            log.exception("a stream failed")


def _add_vectors(app: FastAPI, bodies: Bodies) -> None:
    @app.post("/api/embed", name="ollama_embed", **described.EMBED)
    async def embed(request: Request) -> Response:
        async with bodies.of(request) as raw:
            body = read_body(EmbedBody, raw)
            ask = _ask(request, body.model, body.texts(), body.parameters())
        result = await unless_gone(bodies.hall.infer(ask), request.receive)
        async with bodies.hall.shelf.whole(result, bodies.hall) as whole:
            found = {
                "model": body.shown,
                "embeddings": answers.vectors(whole),
                **answers.durations(whole),
                "prompt_eval_count": whole.settings.get("prompt_tokens") or 0,
            }
        return _json(found)

    @app.post("/api/embeddings", name="ollama_embeddings", **described.EMBEDDINGS)
    async def embeddings(request: Request) -> Response:
        async with bodies.of(request) as raw:
            body = read_body(OldEmbedBody, raw)
            ask = _ask(request, body.model, (body.prompt,), body.stay())
        result = await unless_gone(bodies.hall.infer(ask), request.receive)
        async with bodies.hall.shelf.whole(result, bodies.hall) as whole:
            return _json({"embedding": answers.vectors(whole)[0]})


def _ask(
    request: Request,
    model: str,
    inputs: tuple[Content, ...],
    parameters: dict[str, Parameter],
    *,
    progress: bool = False,
) -> Ask:
    trace = trace_of(request.scope)
    return Ask(DOOR, model, inputs, parameters, progress=progress, traceparent=trace)


def _refuse(app: FastAPI, name: str) -> None:
    methods = ["DELETE"] if name == "delete" else ["POST", "HEAD"]

    @app.api_route(f"/api/{name}", methods=methods, include_in_schema=False)
    async def refuse(request: Request) -> Response:
        raise Refusal(
            Code.INVALID_INPUT,
            "models come and go with `modelmora install` and `modelmora uninstall` on their node, "
            f"not by {request.url.path}",
        )


def check_type(headers: Headers) -> None:
    """Take any type, as Ollama does, but of a page JSON alone; raises Refusal.

    A page can post what is no JSON to any host without asking, but not without telling its origin.
    """
    if "origin" in headers:
        only_json(headers)


class _Lines(StreamingResponse):
    """Sends lines as they come, and closes their source however it ends."""

    def __init__(self, lines: AsyncGenerator[bytes]) -> None:
        super().__init__(lines, media_type=NDJSON, headers={"cache-control": "no-store"})
        self._lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them all."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._lines.aclose()


def _line(told: dict[str, Any]) -> bytes:
    return orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE)


def _json(body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
