"""The paths under `/v1`: OpenAI's bodies to the hall and back, no logic of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import orjson
from fastapi import FastAPI, Request
from pydantic import TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse

from modelmora.errors import Code
from modelmora.gateway.doors.openai import answers, described
from modelmora.gateway.doors.openai.bodies import (
    IGNORED,
    ChatBody,
    CompletionBody,
    EmbeddingBody,
    ImageBody,
    RerankBody,
    Sampled,
)
from modelmora.gateway.doors.openai.errors import refused
from modelmora.gateway.doors.openai.events import events
from modelmora.gateway.doors.openai.streams import pieces
from modelmora.gateway.hall import Ask, Hall, check_request_id
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.rest.reading import CALLER_GONE, Body, unless_gone
from modelmora.gateway.rest.strict import fault, parse
from modelmora.gateway.watching import outcomes
from modelmora.messages import Content, Parameter
from modelmora.web.problems import DoorCode, trace_of

DOOR = "openai"
SEEDS = 1 << 31
B = TypeVar("B", EmbeddingBody, RerankBody, ImageBody, ChatBody, CompletionBody)


@dataclass(frozen=True, slots=True)
class Call(Generic[B]):
    """One HTTP request, its body read."""

    hall: Hall
    request: Request
    body: B
    request_id: str | None

    def ask(
        self,
        inputs: tuple[Content, ...],
        parameters: dict[str, Parameter],
        *,
        progress: bool = False,
        alone: bool = True,
    ) -> Ask:
        """A request of ours; one of several (not `alone`) cannot have the caller's own id."""
        return Ask(
            DOOR,
            self.body.model,
            inputs,
            parameters,
            progress=progress,
            request_id=self.request_id if alone else None,
            traceparent=trace_of(self.request.scope),
        )


Answering = Callable[[Call[Any]], Awaitable[Response]]


def add_openai(app: FastAPI, hall: Hall, metrics: Metrics, body_limit: int) -> None:
    """Serve `/v1`."""
    _add_models(app, hall)
    for path, kind, answer in (
        ("/v1/chat/completions", ChatBody, _chat),
        ("/v1/completions", CompletionBody, _complete),
        ("/v1/embeddings", EmbeddingBody, _embed),
        ("/v1/images/generations", ImageBody, _draw),
        ("/v1/rerank", RerankBody, _rerank),
    ):
        _add(app, hall, metrics, body_limit, path, kind, answer)


def _add(
    app: FastAPI,
    hall: Hall,
    metrics: Metrics,
    body_limit: int,
    path: str,
    kind: type[Any],
    answer: Answering,
) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(kind)

    @app.post(path, name=f"openai_{answer.__name__[1:]}", **described.OPERATIONS[path])
    async def endpoint(request: Request) -> Response:
        body = Body(hall, request, body_limit)
        try:
            request_id = check_request_id(", ".join(request.headers.getlist("x-request-id")))
            read = _read(adapter, kind, await body.read())
        except Refusal as refusal:
            metrics.refused(DOOR, refusal.code)
            return refused(refusal, unread=not body.whole)
        except ClientDisconnect:
            return Response(status_code=CALLER_GONE)
        finally:
            body.release()
        try:
            return await unless_gone(answer(Call(hall, request, read, request_id)), request.receive)
        except Refusal as refusal:
            return refused(refusal)
        except ClientDisconnect:
            return Response(status_code=CALLER_GONE)


def _read(adapter: TypeAdapter[Any], kind: type[Any], raw: bytearray) -> Any:
    found = parse(raw)
    if isinstance(found, dict):
        found = {name: value for name, value in found.items() if name not in IGNORED}
    try:
        return adapter.validate_python(found)
    except ValidationError as error:
        raise Refusal(Code.INVALID_INPUT, fault(error, kind.model_fields)) from None


def _add_models(app: FastAPI, hall: Hall) -> None:
    @app.get("/v1/models", name="openai_models", **described.LIST)
    async def models() -> Response:
        return _json({"object": "list", "data": answers.listed(hall.models())})

    @app.get("/v1/models/{model_name}", name="openai_model", **described.MODEL)
    async def model(request: Request) -> Response:
        name = request.path_params["model_name"]
        found = [each for each in answers.listed(hall.models()) if each["id"] == name]
        if not found:
            message = "there is no such model; see /v1/models"
            return refused(Refusal(DoorCode.NOT_FOUND, message))
        return _json(found[0])


async def _chat(call: Call[ChatBody]) -> Response:
    return await _sample(call, answers.Chat)


async def _complete(call: Call[CompletionBody]) -> Response:
    return await _sample(call, answers.Completion)


async def _sample(call: Call[Any], shape: answers.Shape) -> Response:
    body: Sampled = call.body
    asks = _asks(call, body)
    prompts = len(asks) // (body.n or 1)
    if not body.stream:
        results = await outcomes(call.hall, asks)
        return _json(answers.completed(shape, results, prompts), results[0].request_id)
    coming = pieces(call.hall, asks)
    # What is refused at once is told by a status; what fails later, within the stream.
    first = await anext(coming)
    usage = bool(body.stream_options and body.stream_options.include_usage)
    return StreamingResponse(
        events(shape, body.model, len(asks), first, coming, prompts if usage else 0),
        media_type="text/event-stream",
        headers={"cache-control": "no-store"},
    )


def _asks(call: Call[Any], body: Sampled) -> list[Ask]:
    """A request for each choice of each prompt."""
    parameters, prompts, each = body.parameters(), body.asked(), body.n or 1
    alone = len(prompts) * each == 1
    return [
        call.ask(prompt, _seeded(parameters, number), progress=bool(body.stream), alone=alone)
        for prompt in prompts
        for number in range(each)
    ]


def _seeded(parameters: dict[str, Parameter], number: int) -> dict[str, Parameter]:
    seed = parameters.get("seed")
    if not number or not isinstance(seed, int):
        return parameters
    return {**parameters, "seed": (seed + number) % SEEDS}


async def _embed(call: Call[EmbeddingBody]) -> Response:
    body = call.body
    parameters: dict[str, Parameter] = (
        {} if body.dimensions is None else {"dimensions": body.dimensions}
    )
    result = await call.hall.infer(call.ask(tuple(body.texts()), parameters))
    return _json(answers.embedded(result, body.encoding_format), result.request_id)


async def _rerank(call: Call[RerankBody]) -> Response:
    body = call.body
    documents = body.texts()
    result = await call.hall.infer(call.ask((body.query, *documents), {}))
    found = answers.reranked(result, documents, body.top_n, told=body.return_documents)
    return _json(found, result.request_id)


async def _draw(call: Call[ImageBody]) -> Response:
    body = call.body
    inputs = (body.prompt,) * (body.n or 1)
    result = await call.hall.infer(call.ask(inputs, body.parameters()))
    return _json(answers.pictured(result), result.request_id)


def _json(body: dict[str, Any], request_id: str = "") -> Response:
    headers = {"x-request-id": request_id} if request_id else {}
    return Response(orjson.dumps(body), headers=headers, media_type="application/json")
