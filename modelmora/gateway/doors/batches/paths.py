"""The paths that lines of a batch may ask: those of OpenAI's door, by the same code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from modelmora.errors import Code
from modelmora.gateway.batches.running import Answer
from modelmora.gateway.choosing import named_or_default
from modelmora.gateway.doors.openai.bodies import IGNORED, Sampled
from modelmora.gateway.doors.openai.errors import error_of
from modelmora.gateway.doors.openai.routes import ANSWERING, Call
from modelmora.gateway.doors.rest.bodies import checked
from modelmora.gateway.hall import Ask, Hall
from modelmora.gateway.outcomes import Refusal, answer_of
from modelmora.web.tracing import traceparent_of


class OpenAiPaths:
    """Implements `batches.running.Paths`."""

    endpoints = frozenset(ANSWERING)

    async def ask(
        self, hall: Hall, endpoint: str, body: Any, label: str, bound: Callable[[Ask], Ask]
    ) -> Answer:
        """The answer; each request that it takes is `bound`. Raises Refusal."""
        kind, answering = ANSWERING[endpoint]
        read = checked(kind, body, IGNORED)
        if isinstance(read, Sampled) and read.stream:
            raise Refusal(Code.INVALID_INPUT, "stream: a batch answers as a whole; leave it out")
        model = named_or_default(hall.registrar.state, (read.suit,), read.model)
        answer = await answering(Call(hall, read, model, label, traceparent_of(None), bound))
        request_id = answer.headers.get("x-request-id", "")
        return Answer(answer.status_code, bytes(answer.body), request_id)

    def refused(self, refusal: Refusal) -> Answer:
        """How a refusal is told."""
        status = answer_of(refusal.code).http
        return Answer(int(status), orjson.dumps(error_of(refusal)), refusal.request_id)
