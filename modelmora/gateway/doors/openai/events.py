"""A stream of OpenAI's: chunks as server-sent events, a last word, or what went wrong."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import orjson

from modelmora.gateway.doors.openai import answers
from modelmora.gateway.doors.openai.errors import error_of
from modelmora.gateway.doors.openai.streams import Piece
from modelmora.gateway.outcomes import Refusal
from modelmora.messages import InferenceResult

QUIET = b": it is still computed\n\n"
DONE = b"data: [DONE]\n\n"


async def events(
    shape: answers.Shape,
    model: str,
    count: int,
    first: Piece | None,
    coming: AsyncGenerator[Piece | None],
    prompts: int,
) -> AsyncIterator[bytes]:
    """The events of `count` choices; with `prompts`, how many there were, the usage at the end."""
    head = answers.head(shape, secrets.token_hex(12), model)

    def event(*choices: dict[str, Any], **more: Any) -> bytes:
        return _event({**head, "choices": choices, **more})

    results: dict[int, InferenceResult] = {}
    async with aclosing(coming):
        try:
            for index in range(count):
                yield event(shape.delta(index, None, None))
            piece = first
            while True:
                if piece is None:
                    yield QUIET
                elif piece.text:
                    yield event(shape.delta(piece.index, piece.text, None))
                if piece and piece.result:
                    results[piece.index] = piece.result
                    yield event(shape.delta(piece.index, None, piece.result))
                if len(results) == count:
                    break
                piece = await anext(coming)
        except Refusal as refusal:
            yield _event(error_of(refusal))
            return
    if prompts:
        ended = [results[index] for index in range(count)]
        yield event(usage=answers.usage(ended, prompts))
    yield DONE


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(body) + b"\n\n"
