"""Jobs, outcomes and models as `/modelmora/v1` tells them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from modelmora.errors import Code
from modelmora.gateway.calls.jobs import Job, JobState
from modelmora.gateway.choosing import Suit, default_of, reads_images
from modelmora.gateway.hall import STOPPING, Hall
from modelmora.gateway.outcomes import AnyCode, Refusal, answer_of
from modelmora.messages import InferenceResult, ProgressEvent, ProgressStage, RegistryRecord, State
from modelmora.records import details_of
from modelmora.text import iso
from modelmora.web.problems import DoorCode

TEXT, EYES, IMAGE = Suit("txt2txt"), Suit("txt2txt", eyes=True), Suit("txt2img")
_KINDS = {TEXT.task: "text", IMAGE.task: "image"}
FILTERED = "the model's own safety checker blackened the image"
_REASONS: Mapping[AnyCode, tuple[str, HTTPStatus]] = {
    Code.BUSY: ("busy", HTTPStatus.SERVICE_UNAVAILABLE),
    Code.RATE_LIMITED: ("busy", HTTPStatus.TOO_MANY_REQUESTS),
    Code.STARTING: ("starting", HTTPStatus.SERVICE_UNAVAILABLE),
    Code.STOPPING: ("stopping", HTTPStatus.SERVICE_UNAVAILABLE),
    Code.STOPPED: ("stopping", HTTPStatus.SERVICE_UNAVAILABLE),
    Code.UNKNOWN_MODEL: ("unknown_model", HTTPStatus.NOT_FOUND),
    Code.MODEL_UNAVAILABLE: ("model_unavailable", HTTPStatus.SERVICE_UNAVAILABLE),
    Code.CANNOT_BE_SERVED: ("cannot_be_served_on_this_studio", HTTPStatus.CONFLICT),
    DoorCode.BROKER_UNREACHABLE: ("starting", HTTPStatus.SERVICE_UNAVAILABLE),
    DoorCode.NO_NODE: ("starting", HTTPStatus.SERVICE_UNAVAILABLE),
    DoorCode.UNAUTHENTICATED: ("invalid_request", HTTPStatus.UNAUTHORIZED),
    Code.FORBIDDEN: ("invalid_request", HTTPStatus.UNAUTHORIZED),
    DoorCode.GONE: ("invalid_request", HTTPStatus.NOT_FOUND),
    DoorCode.NOT_FOUND: ("invalid_request", HTTPStatus.NOT_FOUND),
    DoorCode.NOT_FINISHED: ("invalid_request", HTTPStatus.CONFLICT),
}
"""Whatever else is the caller's fault is an invalid request; the rest failed while it ran."""
_LATER = ("busy", "starting", "stopping")


def refusal_of(refusal: Refusal) -> tuple[dict[str, Any], HTTPStatus]:
    """A refusal as it is told here, with its status."""
    reason, status = _REASONS.get(refusal.code) or _else(refusal.code)
    wait = refusal.retry_after_ms or 1000
    later = math.ceil(wait / 1000) if reason in _LATER else None
    return {"reason": reason, "detail": refusal.message, "retryAfterSeconds": later}, status


def _else(code: AnyCode) -> tuple[str, HTTPStatus]:
    if answer_of(code).http < HTTPStatus.INTERNAL_SERVER_ERROR:
        return "invalid_request", HTTPStatus.BAD_REQUEST
    return "failed_during_generation", HTTPStatus.SERVICE_UNAVAILABLE


def told(job: Job, event: ProgressEvent | None) -> dict[str, Any]:
    """Where a job stands: `state`, `position` (0 = running) and `estimatedWaitSeconds`.

    `event` is the last that was told of it since.
    """
    state = _state(job)
    if state == "waiting" and event and event.stage is not ProgressStage.ACCEPTED:
        state = "running"
    ahead, wait = job.position, job.estimate_ms
    if event and event.stage is ProgressStage.ACCEPTED:
        ahead, wait = event.position, event.estimate_ms
    if state == "running":
        ahead, wait = -1, 0.0
    if job.state.ended:
        ahead = wait = None
    return {
        "state": state,
        "position": None if ahead is None else ahead + 1,
        "estimatedWaitSeconds": None if wait is None else math.ceil(wait / 1000),
    }


def _state(job: Job) -> str:
    match job.state:
        case JobState.QUEUED | JobState.LOADING:
            return "waiting"
        case JobState.PROCESSING:
            return "running"
        case JobState.COMPLETED:
            return "done"
        case JobState.CANCELLED:
            return "withdrawn"
        case JobState.STOPPED:
            return "stopped_before_completion"
    stopping = job.error and job.error.code is Code.STOPPING
    return "stopped_before_completion" if stopping else "failed"


def status_of(
    job: Job, event: ProgressEvent | None = None, result: InferenceResult | None = None
) -> dict[str, Any]:
    """How a request stands; `result` is its outcome where it is completed and still held."""
    failure = None
    if job.state.ended and job.state not in (JobState.COMPLETED, JobState.CANCELLED):
        error = job.error
        failure, _ = refusal_of(
            Refusal(error.code, error.message, retry_after_ms=error.retry_after_ms)
            if error
            else Refusal(Code.INFERENCE_FAILED, "it failed without a reason")
        )
    done = job.state is JobState.COMPLETED
    return {
        "requestId": job.request_id,
        **told(job, event),
        "result": _result(job, result) if done else None,
        "failure": failure,
    }


def _result(job: Job, result: InferenceResult | None) -> dict[str, Any]:
    used = result.settings if result else {}
    outputs = result.outputs if result else ()
    name, _, version = job.model.partition("@")
    text = next((each for each in outputs if isinstance(each, str)), None)
    return {
        "model": {"name": name, "version": job.version or version},
        "settingsUsed": {
            "seed": used.get("seed"),
            "maxLength": used.get("max_tokens"),
            "temperature": used.get("temperature"),
            "steps": used.get("steps"),
            "guidance": used.get("guidance"),
        },
        "text": text,
        "imageAvailable": bool(outputs) and text is None,
        "filterNote": FILTERED if used.get("filtered") is True else None,
        "heldUntil": None if job.held_until is None else iso(job.held_until),
    }


def answering(event: ProgressEvent | None, record: RegistryRecord) -> dict[str, str]:
    """The version that answers, as its node has said; until it has, the one that answers most."""
    name, at, version = event.model.partition("@") if event else ("", "", "")
    return {"name": name, "version": version} if at else version_of(record)


def version_of(record: RegistryRecord) -> dict[str, str]:
    """A model in its version."""
    return {"name": record.name, "version": record.version}


def models_of(hall: Hall) -> dict[str, Any]:
    """The models that may be named, and which answer where none is."""
    state = hall.registrar.state
    defaults = {"text": TEXT, "textWithImages": EYES, "image": IMAGE}
    found = {name: default_of(state, suit) for name, suit in defaults.items()}
    return {
        "models": [_listed(record) for record in state.models() if record.task in _KINDS],
        "defaults": {name: each and version_of(each) for name, each in found.items()},
    }


def _listed(record: RegistryRecord) -> dict[str, Any]:
    licence = details_of(record).licence
    return {
        **version_of(record),
        "kind": _KINDS[record.task],
        "readsImages": record.task == EYES.task and reads_images(record),
        "license": licence.name if licence else None,
    }


def availability_of(hall: Hall) -> dict[str, Any]:
    """Whether requests are taken, how many wait at the nodes, and how many models can answer."""
    faults = hall.faults()
    state = "stopping" if STOPPING in faults else "starting" if faults else "running"
    nodes = hall.status().values()
    queue = sum(node.holds(model).waiting for node in nodes for model in node.serves)
    servable = {"text": 0, "image": 0}
    for record in hall.registrar.state.models():
        health = hall.health().get(f"{record.name}@{record.version}")
        well = health and health.state not in (State.FAILED, State.QUARANTINED)
        if record.task in _KINDS and well:
            servable[_KINDS[record.task]] += 1
    return {"state": state, "queueLength": queue, "servable": servable}
