"""What every HTTP door decides before its routes are asked: paths, methods, HEAD, OPTIONS."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, get_type_hints

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelmora.web.problems import DoorCode, Tell, not_found, problem

Endpoint = Callable[[Request], Awaitable[Response]]
WHOLE = "/*"
"""The path by which `Protocol` tells of a request for the server as a whole."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A path, its methods, and who answers there; None where the app is to find out."""

    matches: Callable[[str], re.Match[str] | None]
    methods: frozenset[str]
    endpoint: Endpoint | None


class Surface:
    """ASGI middleware: only requests that a route answers come through, HEAD among them as GET.

    A path means the same with one slash at its end. An endpoint that takes the request and returns
    the response is called from here: it asks nothing of FastAPI, whose way there costs as much as
    all else that is done for a small request. What it raises is told by the one of `handlers` for
    that, as in Starlette.
    """

    def __init__(
        self,
        app: ASGIApp,
        routes: Iterable[BaseRoute],
        tell: Tell = problem,
        handlers: Mapping[Any, Any] | None = None,
    ) -> None:
        self._app = app
        self._tell = tell
        self._handlers = handlers or {}
        self._places = [
            _Place(route.path_regex.match, _with_head(route.methods or ()), plain(route))
            for route in routes
            if isinstance(route, Route)
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that no route does, and one whose endpoint does; hand on the others."""
        path, method = scope["path"], scope["method"]
        if len(path) > 1 and path.endswith("/"):
            scope = {**scope, "path": path[:-1]}
        place = self._place(scope, method)
        if method == "HEAD":
            send = _bodiless(send)
        if isinstance(place, Response):
            await place(scope, receive, send)
            return
        if method == "HEAD":
            scope = {**scope, "method": "GET"}
        if place.endpoint is None:
            await self._app(scope, receive, send)
            return
        found = place.matches(scope["path"])
        scope["path_params"] = found.groupdict() if found else {}
        response = await self._called(place.endpoint, Request(scope, receive, send))
        await response(scope, receive, send)

    async def _called(self, endpoint: Endpoint, request: Request) -> Response:
        try:
            return await endpoint(request)
        except Exception as error:
            # The handler of all exceptions is the server's, which also logs them.
            kinds = (kind for kind in type(error).__mro__ if kind is not Exception)
            handler = next((self._handlers[kind] for kind in kinds if kind in self._handlers), None)
            if handler is None:
                raise
            told: Response = await handler(request, error)
            return told

    def _place(self, scope: Scope, method: str) -> _Place | Response:
        path, allowed = scope["path"], set[str]()
        whole = path == WHOLE and method == "OPTIONS"
        for place in self._places:
            if whole or place.matches(path):
                if method in place.methods:
                    return place
                allowed |= place.methods
        if not allowed:
            return not_found(scope, self._tell)
        headers = {"allow": ", ".join(sorted({*allowed, "OPTIONS"}))}
        if method == "OPTIONS":
            return Response(status_code=HTTPStatus.NO_CONTENT, headers=headers)
        return self._tell(
            scope,
            HTTPStatus.METHOD_NOT_ALLOWED,
            DoorCode.METHOD_NOT_ALLOWED,
            f"{method} is not allowed here; {headers['allow']} are",
            headers=headers,
        )


def plain(route: BaseRoute) -> Endpoint | None:
    """The endpoint where it is a plain one; its path holds nothing but strings."""
    if not isinstance(route, Route):
        return None
    hints = get_type_hints(route.endpoint)
    return route.endpoint if hints == {"request": Request, "return": Response} else None


def _with_head(methods: Collection[str]) -> frozenset[str]:
    return frozenset({*methods, "HEAD"} if "GET" in methods else methods)


def _bodiless(send: Send) -> Send:
    async def heads(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return heads
