"""Several requests run as one: their answers together, or as server-sent events while they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass

from modelmora.errors import Code
from modelmora.gateway.hall import Ask, Hall
from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.pieces import Diverged, Pieces
from modelmora.messages import InferenceResult, ProgressEvent

QUIET_S = 15.0  # proxies cut a connection on which nothing is said


@dataclass(frozen=True, slots=True)
class Piece:
    """More text of the request at `index`, with its outcome where it has ended."""

    index: int
    text: str
    result: InferenceResult | None = None


async def together(hall: Hall, asks: Sequence[Ask]) -> list[InferenceResult]:
    """The outcomes of all, in their order; where one fails the others are cancelled.

    Raises Refusal.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(hall.infer(ask)) for ask in asks]
    except* Refusal as failed:
        raise _first(failed) from None
    return [task.result() for task in tasks]


async def pieces(
    hall: Hall, asks: Sequence[Ask], text_of: Callable[[InferenceResult], str]
) -> AsyncGenerator[Piece | None]:
    """What is told of all of them as it comes, None after a while of silence.

    Leaving it cancels what runs. Raises Refusal.
    """
    queue: asyncio.Queue[tuple[int, ProgressEvent | InferenceResult | Refusal]] = asyncio.Queue()

    async def run(index: int, ask: Ask) -> None:
        try:
            end: InferenceResult | Refusal = await hall.infer(
                ask, lambda event: queue.put_nowait((index, event))
            )
        except Refusal as refusal:
            end = refusal
        queue.put_nowait((index, end))

    tasks = [asyncio.create_task(run(index, ask)) for index, ask in enumerate(asks)]
    shown = [Pieces() for _ in asks]
    left = len(asks)
    try:
        while left:
            try:
                async with asyncio.timeout(QUIET_S):
                    index, told = await queue.get()
            except TimeoutError:
                yield None
                continue
            piece = _piece(index, shown[index], told, text_of)
            left -= piece.result is not None
            if piece.text or piece.result:
                yield piece
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _piece(
    index: int,
    shown: Pieces,
    told: ProgressEvent | InferenceResult | Refusal,
    text_of: Callable[[InferenceResult], str],
) -> Piece:
    try:
        match told:
            case Refusal():
                raise told
            case ProgressEvent():
                return Piece(index, shown.take(told))
            case InferenceResult():
                return Piece(index, shown.end(text_of(told)), told)
    except Diverged:
        raise Refusal(
            Code.INFERENCE_FAILED,
            "it was computed another time and came out otherwise; ask again, with a seed",
        ) from None


def _first(failed: BaseExceptionGroup[Refusal]) -> BaseException:
    found: BaseException = failed
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
