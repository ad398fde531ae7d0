"""What every HTTP door decides before its routes are asked: paths, methods, HEAD, OPTIONS."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from http import HTTPStatus

from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelmora.web.problems import DoorCode, Tell, not_found, problem

WHOLE = "/*"
"""The path by which `Protocol` tells of a request for the server as a whole."""


class Surface:
    """ASGI middleware: only requests that a route answers come through, HEAD among them as GET.

    A path means the same with one slash at its end.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute], tell: Tell = problem) -> None:
        self._app = app
        self._tell = tell
        self._routes = [
            (route.path_regex.match, _with_head(route.methods or ()))
            for route in routes
            if isinstance(route, Route)
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that no route does; hand on the others."""
        path, method = scope["path"], scope["method"]
        if len(path) > 1 and path.endswith("/"):
            scope = {**scope, "path": path[:-1]}
        answer = self._answer(scope, method)
        if answer:
            await answer(scope, receive, _bodiless(send) if method == "HEAD" else send)
        elif method == "HEAD":
            await self._app({**scope, "method": "GET"}, receive, _bodiless(send))
        else:
            await self._app(scope, receive, send)

    def _answer(self, scope: Scope, method: str) -> Response | None:
        path, allowed = scope["path"], set[str]()
        whole = path == WHOLE and method == "OPTIONS"
        for matches, methods in self._routes:
            if whole or matches(path):
                if method in methods:
                    return None
                allowed |= methods
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


def _with_head(methods: Collection[str]) -> frozenset[str]:
    return frozenset({*methods, "HEAD"} if "GET" in methods else methods)


def _bodiless(send: Send) -> Send:
    async def heads(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return heads
