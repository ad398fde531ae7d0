"""How a call of the client ends without an answer."""

from __future__ import annotations

from typing import Any

import grpc
from google.rpc.error_details_pb2 import ErrorInfo

from modelmora.errors import ModelMoraError, NotFound
from modelmora.messages.headers import ERROR_CODE, REQUEST_ID
from modelmora.text import printable

# The request was not taken, or its way was cut: asked again, with the same id, it can be answered.
_AGAIN = frozenset(
    {
        "unreachable",
        "busy",
        "rate_limited",
        "starting",
        "stopping",
        "broker_unreachable",
        "issuer_unreachable",
        "no_node",
    }
)


# A gateway that stops cancels what is under way.
_GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


class CallError(ModelMoraError):
    """A call ends without an answer, for the reason in `code`.

    `code` is one of `modelmora.errors.Code`, of a door's own, `unreachable`, `closed` or `forked`;
    `retry_after_ms` is when trying again can help, where the gateway tells one.
    """

    def __init__(
        self, code: str, message: str, *, retry_after_ms: int | None = None, request_id: str = ""
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_ms = retry_after_ms
        self.request_id = request_id
        if code in ("unknown_model", "not_found"):
            self.exit_code = NotFound.exit_code

    @property
    def again(self) -> bool:
        """Whether the same call can be answered if it is made once more."""
        return self.code in _AGAIN


class DeadlineExceeded(CallError):
    """The call's whole time is over; the code is `expired`."""


class GatewayUnreachable(CallError):
    """No gateway answers; the code is `unreachable`."""

    exit_code = 4


def error_of(error: Any, request_id: str) -> CallError:
    """What a `grpc.RpcError` says, by the trailing metadata that doors write."""
    told = {key: value for key, value in error.trailing_metadata() or () if isinstance(value, str)}
    code = told.get(ERROR_CODE, "")
    request_id = told.get(REQUEST_ID, request_id)
    message = printable(error.details() or "the call failed")
    if not code and error.code() in _GONE:
        return GatewayUnreachable(
            "unreachable",
            "no gateway answers; does one run there, and is this its gRPC?",
            request_id=request_id,
        )
    if code == "expired" or (not code and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED):
        return DeadlineExceeded("expired", message, request_id=request_id)
    wait = told.get("modelmora-retry-after-ms", "")
    return CallError(
        code or "internal",
        message,
        retry_after_ms=int(wait) if wait.isdecimal() and len(wait) < 10 else None,
        request_id=request_id,
    )


def closed() -> CallError:
    """Of a client that was closed while a call waited, or before."""
    return CallError("closed", "the client is closed")


def forked() -> CallError:
    """Of a process that was forked from one that has made calls."""
    return CallError(
        "forked",
        "this process was forked from one that has made calls already; fork before the first, or "
        "start processes by spawn",
    )


def told_of(status: Any, request_id: str) -> CallError:
    """What a google.rpc.Status says, as jobs carry it."""
    reason = ErrorInfo()
    for detail in status.details:
        if detail.Is(ErrorInfo.DESCRIPTOR):
            detail.Unpack(reason)
    message = printable(status.message or "the request failed")
    return CallError(reason.reason or "internal", message, request_id=request_id)
