"""Whether a request is let in, and what it is told about its wait."""

from __future__ import annotations

from modelmora.errors import Code, RequestError
from modelmora.messages import DeviceKind
from modelmora.scheduling.line.work import Work
from modelmora.scheduling.state import Model
from modelmora.text import duration, size


def admit(work: Work, model: Model | None, now: float) -> Model:
    """The model that the work may wait for. Raises RequestError where it is refused.

    `model` is None where it is not known. That memory can hold it is judged where room is given.

    (1) The model is not served here: `unknown_model`.
    (2) Its deadline has passed: `expired`.
    (3) Its files are broken: `cannot_be_served`.
    (4) It is not loaded, its last load failed, the back-off has not passed: `model_unavailable`.
    (5) Admitted.
    """
    name = f"{work.model[0]}@{work.model[1]}"
    # (1) Unknown.
    if model is None or model.removed:
        raise outcome(work, Code.UNKNOWN_MODEL, f"{name} is not served here")
    # (2) Late.
    if work.deadline is not None and work.deadline <= now:
        raise outcome(work, Code.EXPIRED, "its deadline had passed when it arrived")
    # (3) Broken.
    if why := unloadable(model):
        raise outcome(work, Code.CANNOT_BE_SERVED, why)
    # (4) In back-off.
    if now < model.retry_at and not model.stays:
        wait_ms = model.retry_after_ms(now) or 0
        wait = duration(wait_ms)
        message = f"{name} could not be loaded: {model.failure}; try again in {wait}"
        raise outcome(work, Code.MODEL_UNAVAILABLE, message, wait_ms)
    # (5) Admitted.
    return model


def outcome(
    work: Work, code: Code, message: str, retry_after_ms: int | None = None
) -> RequestError:
    """The error that ends this work."""
    return RequestError(code, message, retry_after_ms=retry_after_ms, request_id=work.request_id)


def unloadable(model: Model) -> str | None:
    """Why no load of it is tried before its files have changed; None where one may be."""
    if model.broken and not model.stays:
        return f"{model.spec.name}@{model.spec.version} cannot be loaded: {model.failure}"
    return None


def too_large(model: Model) -> str:
    """What is said of a model that no memory of the node can hold."""
    if DeviceKind.CPU not in model.spec.devices:
        needed = size(model.need(DeviceKind.CUDA).gpu)
        return (
            f"{model.spec.name} needs {needed} of a GPU, which this node does not have for models"
        )
    needed = size(model.need(DeviceKind.CPU).ram)
    return f"{model.spec.name} needs {needed}, more than this node may use for models"
