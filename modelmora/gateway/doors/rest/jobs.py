"""Jobs: `POST /infer/{model}/async` and what is asked of it later; REST to the hall and back."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any
from urllib.parse import quote

import orjson
import structlog
from fastapi import FastAPI, Request
from starlette.responses import Response

from modelmora.errors import Code
from modelmora.gateway.calls.jobs import Job
from modelmora.gateway.calls.waiting import taken
from modelmora.gateway.doors.rest import described, forms
from modelmora.gateway.doors.rest.asking import asked
from modelmora.gateway.doors.rest.reading import Bodies, unless_gone
from modelmora.gateway.hall import MOST_WAIT_S, Ask, Hall
from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.watching import failed
from modelmora.messages import ProgressEvent
from modelmora.web.events import EVENTS, QUIET, Events, event
from modelmora.web.problems import DoorCode

LONGEST_PAUSE_S = 60
log = structlog.get_logger(__name__)
Coming = AsyncGenerator[Job | ProgressEvent | None]


def add_jobs(app: FastAPI, bodies: Bodies) -> None:
    """Serve the jobs."""
    hall = bodies.hall

    @app.post("/infer/{model_name}/async", name="submit", **described.SUBMIT)
    async def submit(request: Request) -> Response:
        ask = await asked(bodies, request)
        return await unless_gone(_submitted(hall, ask), request.receive)

    @app.get("/jobs/{job_id}", name="job", **described.JOB)
    async def job(request: Request) -> Response:
        found = stands(hall, _id(request), _wait_s(request))
        return _answer(await unless_gone(found, request.receive))

    @app.delete("/jobs/{job_id}", name="cancel", **described.CANCEL)
    async def cancel(request: Request) -> Response:
        job = await unless_gone(hall.cancel(_id(request)), request.receive)
        return _answer(job, 200 if job.state.ended else 202)

    @app.get("/jobs/{job_id}/result", name="result", **described.RESULT)
    async def result(request: Request) -> Response:
        form = forms.form_of(", ".join(request.headers.getlist("accept")))
        if form == EVENTS:
            raise Refusal(
                DoorCode.NOT_ACCEPTABLE, "a result is no events; those are at /jobs/ID/events"
            )
        return forms.answer(await unless_gone(hall.outcome(_id(request)), request.receive), form)

    @app.get("/jobs/{job_id}/events", name="job_events", **described.JOB_EVENTS)
    async def job_events(request: Request) -> Response:
        coming = hall.watch(_id(request))
        # What is refused at once is told by a status; what fails later, within the stream.
        first = await unless_gone(anext(coming), request.receive)
        return Events(_events(request, first, coming))


async def stands(hall: Hall, job_id: str, wait_s: float) -> Job:
    """How the job stands once it has ended, or `wait_s` later. Raises Refusal."""
    async with aclosing(hall.watch(job_id)) as coming:
        job = await _next_job(coming)
        if not wait_s:
            return job
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while not job.state.ended:
                    job = await _next_job(coming)
    if job.state.ended:
        return job
    async with aclosing(hall.watch(job_id)) as coming:
        return await _next_job(coming)


async def _next_job(coming: Coming) -> Job:
    async for each in coming:
        if isinstance(each, Job):
            return each
    raise failed()


async def _submitted(hall: Hall, ask: Ask) -> Response:
    if ask.request_id in (".", "..") or "/" in (ask.request_id or ""):
        raise Refusal(Code.INVALID_INPUT, "the id of a job is part of a path: it may have no /")
    job = await hall.submit(ask)
    if job.model.partition("@")[0] != ask.model.partition("@")[0]:
        raise taken(job.request_id)
    answer = _answer(job, 202)
    answer.headers["location"] = f"/jobs/{quote(job.request_id, safe='')}"
    return answer


def _answer(job: Job, status: int = 200) -> Response:
    headers = {"x-request-id": job.request_id}
    if not job.state.ended:
        seconds = math.ceil((job.estimate_ms or 0) / 1000)
        headers["retry-after"] = str(min(max(seconds, 1), LONGEST_PAUSE_S))
    return Response(orjson.dumps(job_form(job)), status, headers, forms.JSON)


def job_form(job: Job) -> dict[str, Any]:
    """A job in JSON; see `described.JobAnswer`."""
    progress = job.step / job.steps if job.step is not None and job.steps else None
    error = job.error and {
        "code": job.error.code,
        "message": job.error.message,
        "retry_after_ms": job.error.retry_after_ms,
    }
    return {
        "request_id": job.request_id,
        "model": job.model,
        "version": job.version or None,
        "state": job.state,
        "position": job.position,
        "estimate_ms": job.estimate_ms,
        "step": job.step,
        "steps": job.steps,
        "progress": progress,
        "submitted_at": job.submitted_at,
        "ended_at": job.ended_at,
        "held_until": job.held_until,
        "error": error,
    }


async def _events(
    request: Request, first: Job | ProgressEvent | None, coming: Coming
) -> AsyncGenerator[bytes]:
    """`job` as it stands, `progress` as it comes, and `job` as it has ended; or `problem`."""
    told = first
    async with aclosing(coming):
        try:
            while True:
                yield _event(told)
                if isinstance(told, Job) and told.state.ended:
                    return
                told = await anext(coming)
        except StopAsyncIteration:
            return
        except Refusal as refusal:
            yield forms.problem_event(request, refusal)
        except Exception:
            yield forms.problem_event(request, failed())
            log.exception("a stream failed")


def _event(told: Job | ProgressEvent | None) -> bytes:
    if told is None:
        return QUIET
    if isinstance(told, Job):
        return event(orjson.dumps(job_form(told)), "job")
    return event(orjson.dumps(forms.progress_form(told)), "progress")


def _id(request: Request) -> str:
    return str(request.path_params["job_id"])


def _wait_s(request: Request) -> float:
    given = request.query_params.getlist("wait_s") or ["0"]
    with suppress(ValueError):
        if len(given) == 1 and 0 <= (wait_s := float(given[0])) <= MOST_WAIT_S:
            return wait_s
    raise Refusal(Code.INVALID_INPUT, f"wait_s is one number between 0 and {MOST_WAIT_S}")
