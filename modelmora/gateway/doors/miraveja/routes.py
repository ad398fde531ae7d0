"""The paths under `/modelmora/v1`: what MiraVeja's services ask, to the hall and back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from starlette.responses import Response

from modelmora.errors import Code
from modelmora.gateway.calls.jobs import Job, JobState
from modelmora.gateway.choosing import asked_for, choose
from modelmora.gateway.doors.miraveja import answers, described
from modelmora.gateway.doors.miraveja.bodies import ImageRequest, TextRequest
from modelmora.gateway.doors.miraveja.images import kept
from modelmora.gateway.doors.rest.bodies import checked, read_json
from modelmora.gateway.doors.rest.reading import Bodies, unless_gone
from modelmora.gateway.hall import Ask, Hall
from modelmora.gateway.outcomes import Refusal
from modelmora.messages import Content, InferenceResult, Parameter, ProgressEvent, RegistryRecord
from modelmora.web.problems import DoorCode, trace_of

DOOR = "miraveja"
FIRST_S = 0.8
"""How long a request that was written waits to be accepted or refused by its node."""
MOST_WAIT_S = 30
_KINDS: dict[str, type[TextRequest] | type[ImageRequest]] = {
    "text": TextRequest,
    "image": ImageRequest,
}


def add_miraveja(app: FastAPI, bodies: Bodies) -> None:
    """Serve `/modelmora/v1`."""
    hall = bodies.hall
    _add_requests(app, bodies)
    _add_request(app, hall)

    @app.get("/modelmora/v1/models", **described.MODELS)
    async def studio_models() -> Response:
        return _json(answers.models_of(hall))

    @app.get("/modelmora/v1/availability", **described.AVAILABILITY)
    async def studio_availability() -> Response:
        return _json(answers.availability_of(hall))


def _add_requests(app: FastAPI, bodies: Bodies) -> None:
    hall = bodies.hall

    @app.post("/modelmora/v1/requests", **described.SUBMIT)
    async def studio_submit(request: Request) -> Response:
        async with bodies.of(request) as body:
            asked = read_request(body)
            record, ask = await _ask(hall, asked, trace_of(request.scope))
        # What is asked was accepted, whether its caller stays to hear so or not.
        return await _submit(hall, record, ask)


def _add_request(app: FastAPI, hall: Hall) -> None:
    @app.get("/modelmora/v1/requests/{requestId}", **described.STATUS)
    async def studio_status(request: Request) -> Response:
        wait_s = _wait_s(request.query_params.multi_items())
        standing = _standing(hall, request.path_params["requestId"], wait_s)
        return _json(await unless_gone(standing, request.receive))

    @app.delete("/modelmora/v1/requests/{requestId}", **described.WITHDRAW)
    async def studio_withdraw(request: Request) -> Response:
        job = await hall.cancel(request.path_params["requestId"])
        return _json(await _status(hall, job, None))

    @app.get("/modelmora/v1/requests/{requestId}/image", **described.IMAGE)
    async def studio_image(request: Request) -> Response:
        outcome = await hall.outcome(request.path_params["requestId"])
        async with hall.shelf.whole(outcome, hall) as result:
            found = next((each for each in result.outputs if isinstance(each, bytes)), None)
        if found is None:
            raise Refusal(DoorCode.NOT_FOUND, "its result is no image")
        return Response(found, media_type="image/png")


def read_request(raw: bytes | bytearray) -> TextRequest | ImageRequest:
    """The request in a body. Raises Refusal that names the field, never its content."""
    found = read_json(raw)
    kind = found.get("kind") if isinstance(found, dict) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        raise Refusal(Code.INVALID_INPUT, f"kind: is one of {', '.join(_KINDS)}")
    return checked(_KINDS[kind], found)


async def _ask(
    hall: Hall, asked: TextRequest | ImageRequest, traceparent: str
) -> tuple[RegistryRecord, Ask]:
    """The model that will answer, and the request to it. Raises Refusal."""
    parameters: dict[str, Parameter] = asked.settings.parameters() if asked.settings else {}
    inputs: tuple[Content, ...]
    if isinstance(asked, TextRequest):
        shown = [await kept(each.data, hall.shelf) for each in asked.images or ()]
        images = tuple(shown)
        suit = answers.EYES if images else answers.TEXT
        said = asked.turns() if asked.conversation else (asked.instructions,)
        inputs = (*said, *images)
    else:
        suit, inputs = answers.IMAGE, (asked.description,)
        parameters["size"] = f"{asked.size.width}x{asked.size.height}"
        if asked.avoid:
            parameters["negative_prompt"] = asked.avoid
    named = asked.model.address if asked.model else ""
    record = choose(hall.registrar.state, (suit,), named)
    model = asked_for(record, named)
    ask = Ask(DOOR, model, inputs, parameters, progress=True, traceparent=traceparent)
    return record, ask


async def _submit(hall: Hall, record: RegistryRecord, ask: Ask) -> Response:
    """The first answer: what its node says of it, or, after a while, that it is written."""
    job = await hall.submit(ask)
    job, event = await _heard(hall.watch(job.request_id), FIRST_S, job, first=True)
    if job.error and job.state is not JobState.CANCELLED:
        error = job.error
        raise Refusal(error.code, error.message, retry_after_ms=error.retry_after_ms)
    standing = answers.told(job, event)
    standing.pop("state")
    if job.state.ended:
        standing = {"position": 0, "estimatedWaitSeconds": 0}
    model = answers.answering(event, record)
    accepted = {"requestId": job.request_id, **standing, "model": model}
    return _json(accepted, HTTPStatus.ACCEPTED)


async def _standing(hall: Hall, request_id: str, wait_s: float) -> dict[str, Any]:
    """How a request stands, once it has ended or after so long."""
    return await _status(hall, *await _heard(hall.watch(request_id), wait_s))


async def _heard(
    told: AsyncGenerator[Job | ProgressEvent | None],
    wait_s: float,
    job: Job | None = None,
    *,
    first: bool = False,
) -> tuple[Job, ProgressEvent | None]:
    """The last of a job and of what was told since, within a time; `first`: as soon as anything is.

    How it stands at the beginning is waited for in any case.
    """
    event: ProgressEvent | None = None
    async with aclosing(told):
        try:
            found = await anext(told)
            async with asyncio.timeout(wait_s or None):
                while True:
                    match found:
                        case Job():
                            job, event = found, None
                        case ProgressEvent():
                            event = found
                    if job and (job.state.ended or not wait_s or (first and _is_news(job, event))):
                        break
                    found = await anext(told)
        except (StopAsyncIteration, TimeoutError):
            pass
    assert job  # noqa: S101  (a job is the first that is told)
    return job, event


def _is_news(job: Job, event: ProgressEvent | None) -> bool:
    return bool(event) or job.state is not JobState.QUEUED or job.position is not None


async def _status(hall: Hall, job: Job, event: ProgressEvent | None = None) -> dict[str, Any]:
    result: InferenceResult | None = None
    if job.state is JobState.COMPLETED:
        try:
            result = await hall.outcome(job.request_id)
        except Refusal as refusal:
            if refusal.code != DoorCode.GONE:
                raise
    return answers.status_of(job, event, result)


def _wait_s(query: list[tuple[str, str]]) -> int:
    """`waitSeconds` of a query. Raises Refusal."""
    match query:
        case []:
            return 0
        case [("waitSeconds", text)] if text.isascii() and text.isdecimal() and len(text) < 4:
            if int(text) <= MOST_WAIT_S:
                return int(text)
    raise Refusal(Code.INVALID_INPUT, f"waitSeconds: is a whole number from 0 to {MOST_WAIT_S}")


def _json(body: dict[str, Any], status: int = HTTPStatus.OK) -> Response:
    return Response(orjson.dumps(body), int(status), media_type="application/json")
