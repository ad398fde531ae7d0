"""A stream of OpenAI's: chunks as server-sent events, a last word, or what went wrong."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import orjson
import structlog

from modelmora.gateway.doors.openai import answers
from modelmora.gateway.doors.openai.errors import error_of
from modelmora.gateway.doors.openai.streams import Piece
from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.watching import failed
from modelmora.messages import InferenceResult
from modelmora.web.events import QUIET, event

log = structlog.get_logger(__name__)
DONE = b"data: [DONE]\n\n"


async def events(
    shape: answers.Shape,
    head: Mapping[str, Any],
    count: int,
    first: Piece | None,
    coming: AsyncGenerator[Piece | None],
    prompts: int,
) -> AsyncGenerator[bytes]:
    """The events of `count` choices; with `prompts`, how many there were, the usage at the end."""

    def chunk(*choices: dict[str, Any], **more: Any) -> bytes:
        return event(orjson.dumps({**head, "choices": choices, **more}))

    results: dict[int, InferenceResult] = {}
    piece = first
    async with aclosing(coming):
        try:
            for index in range(count):
                yield chunk(shape.delta(index, None, None))
            while True:
                if piece is None:
                    yield QUIET
                elif piece.text:
                    yield chunk(shape.delta(piece.index, piece.text, None))
                if piece and piece.result:
                    results[piece.index] = piece.result
                    for call in shape.calls(piece.index, piece.result):
                        yield chunk(call)
                    yield chunk(shape.delta(piece.index, None, piece.result))
                if len(results) == count:
                    break
                piece = await anext(coming)
        except Refusal as refusal:
            yield event(orjson.dumps(error_of(refusal)))
            return
        except Exception:
            yield event(orjson.dumps(error_of(failed())))
            log.exception("a stream failed")
            return
    if prompts:
        ended = [results[index] for index in range(count)]
        yield chunk(usage=answers.usage(ended, prompts))
    yield DONE
