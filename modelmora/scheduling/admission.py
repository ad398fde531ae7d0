"""Whether a request is let in, and what it is told about its wait."""

from __future__ import annotations

from modelmora.errors import Code, RequestError
from modelmora.scheduling.state import Model
from modelmora.scheduling.work import Work

_MIB = 1 << 20


def admit(work: Work, model: Model | None, now: float, *, stopping: bool, fits: bool) -> Model:
    """The model that the work may wait for. Raises RequestError where it is refused.

    `model` is None where it is not known; `fits` says whether memory could ever hold it.

    (1) The node is stopping: `stopping`.
    (2) The model is not served here: `unknown_model`.
    (3) Its deadline has passed: `expired`.
    (4) It needs more memory than there ever is: `cannot_be_served`.
    (5) Its last load failed, and the back-off has not passed: `model_unavailable`.
    (6) Admitted.
    """
    name = f"{work.model[0]}@{work.model[1]}"
    # (1) Stopping.
    if stopping:
        raise outcome(work, Code.STOPPING, "this node is stopping; send the request again")
    # (2) Unknown.
    if model is None or model.removed:
        raise outcome(work, Code.UNKNOWN_MODEL, f"{name} is not served here")
    # (3) Late.
    if work.deadline is not None and work.deadline <= now:
        raise outcome(work, Code.EXPIRED, "its deadline had passed when it arrived")
    # (4) Too large.
    if not fits:
        raise outcome(work, Code.CANNOT_BE_SERVED, too_large(model))
    # (5) In back-off.
    if now < model.retry_at:
        message = f"{name} could not be loaded; it is tried again after a pause"
        raise outcome(work, Code.MODEL_UNAVAILABLE, message, model.retry_after_ms(now))
    # (6) Admitted.
    return model


def outcome(
    work: Work, code: Code, message: str, retry_after_ms: int | None = None
) -> RequestError:
    """The error that ends this work."""
    return RequestError(code, message, retry_after_ms=retry_after_ms, request_id=work.request_id)


def too_large(model: Model) -> str:
    """What is said of a model that memory cannot hold."""
    need = model.need / _MIB
    return f"{model.spec.name} needs {need:.0f} MiB, more than this node may use for models"
