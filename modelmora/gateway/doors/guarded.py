"""The guard before every door: who calls, and whether they may do anything; one a protocol."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio
from starlette.types import ASGIApp, Receive, Scope, Send

from modelmora.access.budgets import Bucket
from modelmora.gateway.caller import LOCAL, caller
from modelmora.gateway.doors.grpc.calls import Call
from modelmora.gateway.doors.quotas import telling
from modelmora.gateway.doors.tellings import Tellings
from modelmora.gateway.guard import Guard
from modelmora.gateway.limiter import quota
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.permits import Permits
from modelmora.objects.signing import PATH

OPEN_PATHS = frozenset({"/health", "/health/live", "/health/ready"})
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
            who = LOCAL
            if not _is_open(scope):
                who = self._guard.principal(_given(scope))
                self._permits.check_any(principal=who)
        except Refusal as refusal:
            self._metrics.refused("http", refusal.code)
            await self._tellings.tell(scope, refusal)(scope, receive, send)
            return
        charged: dict[Bucket, None] = {}
        tokens = caller.set(who), quota.set(charged)
        try:
            await self._app(scope, receive, telling(charged, send))
        finally:
            caller.reset(tokens[0])
            quota.reset(tokens[1])


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
        given = [str(value) for name, value in metadata if name == "authorization"]
        try:
            who = LOCAL
            if details.method not in OPEN_METHODS:
                who = self._guard.principal(given)
                self._permits.check_any(principal=who)
        except Refusal as refusal:
            self._metrics.refused("grpc", refusal.code)
            return _refusing(refusal)
        caller.set(who)
        return await continuation(details)


def _refusing(refusal: Refusal) -> Any:
    async def refuse(_messages: Any, context: Any) -> None:
        await Call(context).fail(refusal)

    # Of a stream no message is awaited, however many would come.
    return grpc.stream_stream_rpc_method_handler(refuse)
