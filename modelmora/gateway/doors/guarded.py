"""The guard before every door: who calls, and whether they may do anything; one a protocol."""

from __future__ import annotations

import inspect
from typing import Any

import grpc
import grpc.aio
from starlette.types import ASGIApp, Receive, Scope, Send

from modelmora.access.budgets import Bucket
from modelmora.gateway.caller import LOCAL, caller, given
from modelmora.gateway.doors.grpc.calls import Call
from modelmora.gateway.doors.quotas import telling
from modelmora.gateway.doors.tellings import Tellings
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.rights.guard import Guard
from modelmora.gateway.rights.limiter import quota
from modelmora.gateway.rights.permits import Permits
from modelmora.objects.signing import PATH
from modelmora.web.protocol import CERTIFICATE

OPEN_PATHS = frozenset({"/health", "/health/live", "/health/ready", "/health/started"})
OPEN_METHODS = frozenset({"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"})
"""What probes ask, which have no keys; it tells nothing of models and callers."""


class HttpGuard:
    """ASGI middleware: sets `caller` for the call, or refuses it."""

    def __init__(
        self,
        app: ASGIApp,
        guard: Guard,
        permits: Permits,
        metrics: Metrics,
        tellings: Tellings,
    ) -> None:
        self._app = app
        self._guard = guard
        self._permits = permits
        self._metrics = metrics
        self._tellings = tellings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the call on in its caller's name."""
        try:
            who = LOCAL if _is_open(scope) else await self._known(scope)
        except Refusal as refusal:
            self._metrics.refused("http", refusal.code)
            await self._tellings.tell(scope, refusal)(scope, receive, send)
            return
        charged: dict[Bucket, None] = {}
        tokens = caller.set(who), quota.set(charged)
        given.set(scope["headers"])
        try:
            await self._app(scope, receive, telling(charged, send))
        finally:
            caller.reset(tokens[0])
            quota.reset(tokens[1])

    async def _known(self, scope: Scope) -> str:
        who = await self._guard.principal(_given(scope), scope.get(CERTIFICATE))
        self._permits.check_any(principal=who)
        return who


def _is_open(scope: Scope) -> bool:
    """Signed URLs say themselves what they allow."""
    path, method = scope["path"], scope["method"]
    return path in OPEN_PATHS or (method in ("GET", "HEAD", "PUT") and path.startswith(PATH))


def _given(scope: Scope) -> list[str]:
    return [value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"]


class RpcGuard(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Sets `caller` for each call, or refuses it."""

    def __init__(self, guard: Guard, permits: Permits, metrics: Metrics) -> None:
        self._guard = guard
        self._permits = permits
        self._metrics = metrics

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        """Hand the call on in its caller's name; gRPC runs its handler in this task."""
        metadata = details.invocation_metadata
        keys = [str(value) for name, value in metadata if name == "authorization"]
        given.set(metadata or ())
        if details.method in OPEN_METHODS:
            caller.set(LOCAL)
            return await continuation(details)
        if self._guard.needs_certificate:
            return self._behind(await continuation(details), keys)
        try:
            await self._know(keys)
        except Refusal as refusal:
            return _refusing(self._refused(refusal))
        return await continuation(details)

    async def _know(self, keys: list[str], certificate: bytes | None = None) -> None:
        who = await self._guard.principal(keys, certificate)
        self._permits.check_any(principal=who)
        caller.set(who)

    def _behind(self, handler: Any, keys: list[str]) -> Any:
        """A handler that looks at the certificate first: gRPC tells of it no earlier."""
        inner = handler or grpc.stream_stream_rpc_method_handler(_nothing)
        of = inner.unary_unary or inner.unary_stream or inner.stream_unary or inner.stream_stream

        async def answer(messages: Any, context: Any) -> Any:
            try:
                await self._know(keys, _certificate(context))
            except Refusal as refusal:
                await Call(context).fail(self._refused(refusal))
                return None
            if not inspect.isasyncgenfunction(of):
                return await of(messages, context)
            async for message in of(messages, context):
                await context.write(message)
            return None

        make = _MAKERS[bool(inner.request_streaming), bool(inner.response_streaming)]
        return make(answer, inner.request_deserializer, inner.response_serializer)

    def _refused(self, refusal: Refusal) -> Refusal:
        self._metrics.refused("grpc", refusal.code)
        return refusal


_MAKERS = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}
"""By whether many messages come, and whether many go."""


def _certificate(context: Any) -> bytes | None:
    """The verified one of this call's connection, in PEM."""
    found: Any = context.auth_context().get("x509_pem_cert")
    return bytes(found[0]) if found else None


async def _nothing(_messages: Any, context: Any) -> None:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "there is no such method")


def _refusing(refusal: Refusal) -> Any:
    async def refuse(_messages: Any, context: Any) -> None:
        await Call(context).fail(refusal)

    # Of a stream no message is awaited, however many would come.
    return grpc.stream_stream_rpc_method_handler(refuse)
