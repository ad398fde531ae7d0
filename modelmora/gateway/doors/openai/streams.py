"""Text as it is written: what each request adds, and how it ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from modelmora.errors import Code
from modelmora.gateway.doors.openai.answers import text_of
from modelmora.gateway.hall import Ask, Hall
from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.watching import Told, watch
from modelmora.messages import InferenceResult
from modelmora.messages.pieces import Diverged, Pieces


@dataclass(frozen=True, slots=True)
class Piece:
    """More text of the request at `index`, with its outcome where it has ended."""

    index: int
    request_id: str
    text: str
    result: InferenceResult | None = None


async def pieces(hall: Hall, asks: Sequence[Ask]) -> AsyncGenerator[Piece | None]:
    """What all of them write as it comes, None after a while of silence.

    Leaving it cancels those that run. Raises Refusal.
    """
    shown = [Pieces() for _ in asks]
    async with aclosing(watch(hall, asks)) as watched:
        async for told in watched:
            piece = _piece(shown[told.index], told) if told else None
            if piece is None or piece.text or piece.result:
                yield piece


def _piece(shown: Pieces, told: Told) -> Piece:
    request_id = told.what.request_id
    try:
        if isinstance(told.what, InferenceResult):
            return Piece(told.index, request_id, shown.end(text_of(told.what)), told.what)
        return Piece(told.index, request_id, shown.take(told.what))
    except Diverged:
        raise Refusal(
            Code.INFERENCE_FAILED,
            "it was computed another time and came out otherwise; ask again, with a seed",
        ) from None
