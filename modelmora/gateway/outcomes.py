"""Codes to status: the one table by which both doors say how a request ended."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

import grpc

from modelmora.errors import Code
from modelmora.messages import ErrorInfo, InferenceResult
from modelmora.text import printable
from modelmora.web.problems import DoorCode

AnyCode = Code | DoorCode


@dataclass(frozen=True, slots=True)
class Answer:
    """How a code is said over HTTP and gRPC; `retry_after_ms` where the node names no time."""

    http: HTTPStatus
    grpc: grpc.StatusCode
    retry_after_ms: int | None = None


class Refusal(Exception):
    """A request ends at the gateway without a result, for the reason in `code`.

    What strangers wrote in the message is made harmless, for every door. `field` is the one at
    fault, where the door knows it.
    """

    def __init__(
        self,
        code: AnyCode,
        message: str,
        *,
        retry_after_ms: int | None = None,
        request_id: str = "",
        field: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = printable(message)
        self.retry_after_ms = retry_after_ms or answer_of(code).retry_after_ms
        self.request_id = request_id
        self.field = field
        self.device_ms = 0.0
        """How long it has run all the same, where that is known."""


_INVALID = Answer(HTTPStatus.BAD_REQUEST, grpc.StatusCode.INVALID_ARGUMENT)
_LATER = Answer(HTTPStatus.SERVICE_UNAVAILABLE, grpc.StatusCode.UNAVAILABLE, 1000)
_FAULT = Answer(HTTPStatus.INTERNAL_SERVER_ERROR, grpc.StatusCode.INTERNAL)
_NOT_FOUND = Answer(HTTPStatus.NOT_FOUND, grpc.StatusCode.NOT_FOUND)

_ANSWERS: dict[AnyCode, Answer] = {
    Code.UNKNOWN_MODEL: _NOT_FOUND,
    Code.UNKNOWN_PARAMETER: _INVALID,
    Code.INVALID_INPUT: _INVALID,
    # What a caller's inputs can make of the record; its child finds out when it decodes them.
    Code.UNDECODABLE: _INVALID,
    Code.UNKNOWN_SCHEMA: _INVALID,
    Code.TRAILING_BYTES: _INVALID,
    Code.EMPTY_VALUE: _INVALID,
    Code.NULL_VALUE: _INVALID,
    Code.TOO_LARGE: Answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, grpc.StatusCode.INVALID_ARGUMENT),
    Code.BUSY: _LATER,
    Code.STARTING: _LATER,
    Code.STOPPING: _LATER,
    Code.MODEL_UNAVAILABLE: _LATER,
    Code.STORE_UNAVAILABLE: _LATER,
    # Where its node says when to ask again; else it has failed as often as it may.
    Code.RETRIES_SPENT: Answer(HTTPStatus.SERVICE_UNAVAILABLE, grpc.StatusCode.UNAVAILABLE),
    DoorCode.BROKER_UNREACHABLE: Answer(
        HTTPStatus.SERVICE_UNAVAILABLE, grpc.StatusCode.UNAVAILABLE, 2000
    ),
    Code.EXPIRED: Answer(HTTPStatus.GATEWAY_TIMEOUT, grpc.StatusCode.DEADLINE_EXCEEDED),
    Code.CANCELLED: Answer(HTTPStatus.CONFLICT, grpc.StatusCode.CANCELLED),
    Code.ID_REUSED: Answer(HTTPStatus.CONFLICT, grpc.StatusCode.ALREADY_EXISTS),
    DoorCode.NO_NODE: Answer(HTTPStatus.SERVICE_UNAVAILABLE, grpc.StatusCode.UNAVAILABLE, 5000),
    DoorCode.UNAUTHENTICATED: Answer(HTTPStatus.UNAUTHORIZED, grpc.StatusCode.UNAUTHENTICATED),
    DoorCode.ISSUER_UNREACHABLE: Answer(
        HTTPStatus.SERVICE_UNAVAILABLE, grpc.StatusCode.UNAVAILABLE, 10_000
    ),
    Code.FORBIDDEN: Answer(HTTPStatus.FORBIDDEN, grpc.StatusCode.PERMISSION_DENIED),
    Code.RATE_LIMITED: Answer(
        HTTPStatus.TOO_MANY_REQUESTS, grpc.StatusCode.RESOURCE_EXHAUSTED, 1000
    ),
    DoorCode.NOT_FOUND: _NOT_FOUND,
    DoorCode.NOT_FINISHED: Answer(HTTPStatus.CONFLICT, grpc.StatusCode.FAILED_PRECONDITION),
    DoorCode.GONE: Answer(HTTPStatus.GONE, grpc.StatusCode.NOT_FOUND),
    DoorCode.REFUSED: Answer(HTTPStatus.CONFLICT, grpc.StatusCode.FAILED_PRECONDITION),
    DoorCode.METHOD_NOT_ALLOWED: Answer(
        HTTPStatus.METHOD_NOT_ALLOWED, grpc.StatusCode.UNIMPLEMENTED
    ),
    DoorCode.NOT_ACCEPTABLE: Answer(HTTPStatus.NOT_ACCEPTABLE, grpc.StatusCode.FAILED_PRECONDITION),
    DoorCode.CONFLICT: Answer(HTTPStatus.CONFLICT, grpc.StatusCode.ABORTED),
    DoorCode.STALE: Answer(HTTPStatus.PRECONDITION_FAILED, grpc.StatusCode.ABORTED),
    DoorCode.MALFORMED: _INVALID,
    DoorCode.HEAD_TOO_LARGE: Answer(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, grpc.StatusCode.INVALID_ARGUMENT
    ),
    DoorCode.TOO_SLOW: Answer(HTTPStatus.REQUEST_TIMEOUT, grpc.StatusCode.DEADLINE_EXCEEDED),
    DoorCode.UNSUPPORTED_MEDIA_TYPE: Answer(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE, grpc.StatusCode.INVALID_ARGUMENT
    ),
}


def answer_of(code: AnyCode) -> Answer:
    """The statuses of a code; every code not named above is a fault of the server."""
    return _ANSWERS.get(code, _FAULT)


def refusal_of(result: InferenceResult) -> Refusal:
    """How a result that is none is told."""
    if result.error is None:
        message = f"the request ended as {result.status} without a reason"
        return Refusal(Code.INFERENCE_FAILED, message, request_id=result.request_id)
    refusal = refusal_of_error(result.error, result.request_id)
    refusal.device_ms = max(0.0, result.timings.inference_ms)
    return refusal


def refusal_of_error(error: ErrorInfo, request_id: str) -> Refusal:
    """How the error of a request is told."""
    return Refusal(
        error.code, error.message, retry_after_ms=error.retry_after_ms, request_id=request_id
    )
