"""How a call is told what no door has answered, in the words of the door its path belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Protocol

from starlette.responses import Response
from starlette.types import Scope

from modelmora.gateway.outcomes import Refusal
from modelmora.web.problems import DoorCode


class Telling(Protocol):
    """How one door tells a refusal; `unread` where the body was not read to its end."""

    def __call__(self, scope: Scope, refusal: Refusal, /, *, unread: bool = False) -> Response:
        """The response."""


class Tellings:
    """The words of each door, by the path that all of its paths lie under; "" are all others."""

    def __init__(self, doors: Mapping[str, Telling]) -> None:
        self._doors = doors

    def refused(self, scope: Scope, refusal: Refusal, *, unread: bool = False) -> Response:
        """The response to a call that was refused before its door."""
        path = scope["path"]
        at = max((door for door in self._doors if f"{path}/".startswith(f"{door}/")), key=len)
        return self._doors[at](scope, refusal, unread=unread)

    def framework(
        self,
        scope: Scope,
        status: HTTPStatus,
        code: DoorCode,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """The response to a call that no route of a door has answered."""
        response = self.refused(scope, Refusal(code, detail))
        response.status_code = status
        response.headers.update(headers or {})
        return response
