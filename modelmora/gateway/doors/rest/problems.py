"""How a refusal of the gateway is told over HTTP where no door of others is entered."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response
from starlette.types import Scope

from modelmora.gateway.outcomes import Refusal, answer_of
from modelmora.web import problems


def problem(scope: Scope, refusal: Refusal, headers: Mapping[str, str]) -> Response:
    """The response that tells a refusal."""
    return problems.problem(
        scope,
        answer_of(refusal.code).http,
        refusal.code,
        refusal.message,
        request_id=refusal.request_id,
        retry_after_ms=refusal.retry_after_ms,
        headers=headers,
    )
