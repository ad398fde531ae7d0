"""A call of any service: its message read, its refusal told in full, our faults kept quiet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import structlog
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from modelmora.errors import Code
from modelmora.gateway.hall import Hall
from modelmora.gateway.outcomes import AnyCode, Refusal, answer_of
from modelmora.gateway.watching import failed
from modelmora.messages.headers import ERROR_CODE
from modelmora.web.tracing import trace_id_of, traceparent_of

DOMAIN = "modelmora"
# It stands in the trailing metadata three times, escaped, and callers take 8 KiB of that.
MESSAGE_BYTES = 1000
_FIELDS: dict[AnyCode, str] = {Code.UNKNOWN_MODEL: "model", Code.UNKNOWN_PARAMETER: "parameters"}
log = structlog.get_logger(__name__)


class Call:
    """What a method knows of the call that it answers."""

    def __init__(self, context: Any) -> None:
        self._context = context
        metadata = dict(context.invocation_metadata() or ())
        self.traceparent = traceparent_of(metadata.get("traceparent"))

    def remaining_s(self) -> float | None:
        """The time until its deadline, None where it has none."""
        left: float | None = self._context.time_remaining()
        return left

    async def write(self, message: Message | bytes) -> None:
        """Send one of many answers, encoded or not, as soon as the caller takes it."""
        await self._context.write(message)

    async def fail(self, error: Exception, more: tuple[tuple[str, str], ...] = ()) -> None:
        """End it with what was raised, and with `more` trailing metadata."""
        if self._context.done():
            return
        refusal = error if isinstance(error, Refusal) else fault(error)
        trailing = [(ERROR_CODE, str(refusal.code)), *more]
        if refusal.request_id:
            trailing.append(("modelmora-request-id", refusal.request_id))
        if refusal.retry_after_ms:
            trailing.append(("modelmora-retry-after-ms", str(refusal.retry_after_ms)))
        told = rpc_status.to_status(status_of(refusal, self.traceparent))
        trailing.extend(told.trailing_metadata)
        await self._context.abort(told.code, told.details, tuple(trailing))


Answering = Callable[[bytes, Call], Awaitable[Message]]
Streaming = Callable[[Any, Call], Awaitable[None]]


def unary(method: Answering) -> Any:
    """The handler of a method that answers a message with a message."""

    async def answer(message: bytes, context: Any) -> Message | None:
        call = Call(context)
        try:
            return await method(message, call)
        except Exception as error:  # noqa: BLE001 - told
            await call.fail(error)
            return None

    return grpc.unary_unary_rpc_method_handler(answer, response_serializer=_serialized)


def streaming(method: Streaming, *, many: bool = False) -> Any:
    """The handler of a method that writes its answers; `many`: it is given all messages."""

    async def answer(messages: Any, context: Any) -> None:
        call = Call(context)
        try:
            await method(messages, call)
        except Exception as error:  # noqa: BLE001 - told
            await call.fail(error)

    make = grpc.stream_stream_rpc_method_handler if many else grpc.unary_stream_rpc_method_handler
    return make(answer, response_serializer=_serialized)


def decoded(kind: Any, message: bytes) -> Any:
    """The message. Raises Refusal; gRPC itself tells callers nothing of use of one that is none."""
    try:
        return kind.FromString(message)
    except DecodeError:
        name = kind.DESCRIPTOR.name
        raise Refusal(Code.INVALID_INPUT, f"the message is no {name}") from None


@contextmanager
def held(hall: Hall, message: bytes) -> Iterator[None]:
    """Count its bytes while it is worked on. Raises Refusal (busy)."""
    hall.hold(len(message))
    try:
        yield
    finally:
        hall.release(len(message))


def status_of(refusal: Refusal, traceparent: str) -> Status:
    """A refusal with all that can be told of it."""
    message = refusal.message.encode()[:MESSAGE_BYTES].decode(errors="ignore")
    details: list[Message] = [
        ErrorInfo(reason=str(refusal.code), domain=DOMAIN),
        RequestInfo(request_id=refusal.request_id, serving_data=trace_id_of(traceparent)),
    ]
    if refusal.retry_after_ms:
        delay = Duration()
        delay.FromMilliseconds(refusal.retry_after_ms)
        details.append(RetryInfo(retry_delay=delay))
    if field := refusal.field or _FIELDS.get(refusal.code):
        violation = BadRequest.FieldViolation(field=field, description=message)
        details.append(BadRequest(field_violations=[violation]))
    packed = [Packed() for _ in details]
    for each, detail in zip(packed, details, strict=True):
        each.Pack(detail)
    number = answer_of(refusal.code).grpc.value[0]
    return Status(code=number, message=message, details=packed)


def fault(error: Exception) -> Refusal:
    """What is told of a fault of ours; the log says more."""
    log.error("a call failed", exc_info=error)
    return failed()


def _serialized(message: Message | bytes) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()
