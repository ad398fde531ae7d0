"""The paths under `/v1`: OpenAI's bodies to the hall and back, no logic of its own."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import orjson
from fastapi import FastAPI, Request
from starlette.responses import Response

from modelmora.gateway.choosing import choose, named_or_default
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
from modelmora.gateway.doors.openai.events import events
from modelmora.gateway.doors.openai.moderating import ModerationBody, Rule, moderated
from modelmora.gateway.doors.openai.streams import Piece, pieces
from modelmora.gateway.doors.rest.bodies import read_body
from modelmora.gateway.doors.rest.reading import Bodies, unless_gone
from modelmora.gateway.hall import Ask, Hall, check_request_id
from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.watching import outcomes
from modelmora.messages import Content, Parameter
from modelmora.records.facts import facts_of
from modelmora.web.events import Events
from modelmora.web.problems import DoorCode, trace_of

DOOR = "openai"
SEEDS = 1 << 31
B = TypeVar("B", EmbeddingBody, RerankBody, ImageBody, ChatBody, CompletionBody, ModerationBody)


def _as_it_is(ask: Ask) -> Ask:
    return ask


@dataclass(frozen=True, slots=True)
class Call(Generic[B]):
    """One HTTP request, its body read."""

    hall: Hall
    body: B
    model: str
    request_id: str | None
    traceparent: str
    bound: Callable[[Ask], Ask] = _as_it_is
    """What becomes of each request of ours before it is asked."""

    @property
    def name(self) -> str:
        """Of the model, as whole answers tell it."""
        return self.model.partition("@")[0]

    def ask(
        self,
        inputs: tuple[Content, ...],
        parameters: dict[str, Parameter],
        *,
        progress: bool = False,
        number: int | None = None,
    ) -> Ask:
        """A request of ours; of several each has its `number` behind the caller's own id."""
        request_id = self.request_id
        if request_id and number is not None:
            request_id = check_request_id(f"{request_id}-{number}")
        return self.bound(
            Ask(
                DOOR,
                self.model,
                inputs,
                parameters,
                progress=progress,
                request_id=request_id,
                traceparent=self.traceparent,
            )
        )


Answering = Callable[[Call[Any]], Awaitable[Response]]


def add_openai(app: FastAPI, bodies: Bodies) -> None:
    """Serve `/v1`."""
    _add_models(app, bodies.hall)
    for path, (kind, answer) in ANSWERING.items():
        _add(app, bodies, path, kind, answer)


def _add(app: FastAPI, bodies: Bodies, path: str, kind: type[Any], answer: Answering) -> None:
    @app.post(path, name=f"openai_{answer.__name__[1:]}", **described.OPERATIONS[path])
    async def endpoint(request: Request) -> Response:
        async with bodies.of(request) as body:
            request_id = check_request_id(", ".join(request.headers.getlist("x-request-id")))
            read = read_body(kind, body, IGNORED)
            model = named_or_default(bodies.hall.registrar.state, (read.suit,), read.model)
        call = Call(bodies.hall, read, model, request_id, trace_of(request.scope))
        return await unless_gone(answer(call), request.receive)


def _add_models(app: FastAPI, hall: Hall) -> None:
    @app.get("/v1/models", name="openai_models", **described.LIST)
    async def models() -> Response:
        return _json({"object": "list", "data": _listed(hall)})

    @app.get("/v1/models/{model_name}", name="openai_model", **described.MODEL)
    async def model(request: Request) -> Response:
        name = request.path_params["model_name"]
        found = [each for each in _listed(hall) if each["id"] == name]
        if not found:
            raise Refusal(DoorCode.NOT_FOUND, "there is no such model; see /v1/models")
        return _json(found[0])


def _listed(hall: Hall) -> list[dict[str, Any]]:
    return answers.listed(hall.models(), hall.registrar.state.active())


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
    head = answers.head(shape, call.request_id or _id_of(first), call.name)
    return Events(
        events(shape, head, len(asks), first, coming, prompts if usage else 0),
        headers={"x-request-id": call.request_id or _id_of(first)},
    )


def _id_of(first: Piece | None) -> str:
    """The id of the stream: that of the request which is heard of first."""
    return first.request_id if first else secrets.token_hex(12)


def _asks(call: Call[Any], body: Sampled) -> list[Ask]:
    """A request for each choice of each prompt."""
    parameters, prompts, each = body.parameters(), body.asked(), body.n or 1
    wanted = [(prompt, number) for prompt in prompts for number in range(each)]
    return [
        call.ask(
            prompt,
            _seeded(parameters, number),
            progress=bool(body.stream),
            number=at if len(wanted) > 1 else None,
        )
        for at, (prompt, number) in enumerate(wanted)
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
    async with call.hall.shelf.whole(result, call.hall) as whole:
        return _json(answers.embedded(whole, body.encoding_format), result.request_id)


async def _rerank(call: Call[RerankBody]) -> Response:
    body = call.body
    documents = body.texts()
    result = await call.hall.infer(call.ask((body.query, *documents), {}))
    async with call.hall.shelf.whole(result, call.hall) as whole:
        found = answers.reranked(whole, documents, body.top_n, told=body.return_documents)
        return _json(found, result.request_id)


async def _moderate(call: Call[ModerationBody]) -> Response:
    body = call.body
    record = choose(call.hall.registrar.state, (body.suit,), call.model)
    rule = Rule.of(facts_of(record), body.threshold)
    result = await call.hall.infer(call.ask(body.contents(), body.parameters()))
    async with call.hall.shelf.whole(result, call.hall) as whole:
        return _json(moderated(whole, body, rule), result.request_id)


async def _draw(call: Call[ImageBody]) -> Response:
    body = call.body
    inputs = (body.prompt,) * (body.n or 1)
    result = await call.hall.infer(call.ask(inputs, body.parameters()))
    async with call.hall.shelf.whole(result, call.hall) as whole:
        return _json(answers.pictured(whole), result.request_id)


def _json(body: dict[str, Any], request_id: str = "") -> Response:
    headers = {"x-request-id": request_id} if request_id else {}
    return Response(orjson.dumps(body), headers=headers, media_type="application/json")


ANSWERING: Mapping[str, tuple[type[Any], Answering]] = {
    "/v1/chat/completions": (ChatBody, _chat),
    "/v1/completions": (CompletionBody, _complete),
    "/v1/embeddings": (EmbeddingBody, _embed),
    "/v1/images/generations": (ImageBody, _draw),
    "/v1/moderations": (ModerationBody, _moderate),
    "/v1/rerank": (RerankBody, _rerank),
}
"""What each path reads, and how that is answered."""
