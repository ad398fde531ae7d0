"""What a stream tells of a request, as pieces, whichever gateway tells it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from modelmora.client.values import (
    Accepted,
    Answer,
    Chunk,
    Piece,
    Progress,
    Started,
    Step,
    Text,
    answer_of,
)
from modelmora.messages import ProgressStage
from modelmora.messages.pieces import Diverged, Pieces
from modelmora.rpc.contents import progress_of


class Listener:
    """Events of one request to pieces; what another gateway tells once more is told once."""

    def __init__(self) -> None:
        self._text = Pieces()
        self._result: Any = None
        self._data: dict[int, bytearray] = {}
        self._told: dict[int, int] = {}

    def take(self, event: Any) -> Iterator[Piece]:
        """The pieces of an `InferEvent`, the Answer last."""
        match event.WhichOneof("event"):
            case "progress":
                yield from self.progress(event.progress, event.request_id)
            case "result":
                self._result = event.result
                large = enumerate(event.result.outputs)
                self._data = {at: bytearray() for at, part in large if part.chunked_bytes}
            case "chunk":
                yield from self._chunk(event.chunk)
        if event.end and self._result is not None:
            answer = self._whole()
            yield from self._rest(answer)
            yield answer

    def progress(self, message: Any, request_id: str) -> Iterator[Progress]:
        """The piece of a `Progress`, if it is known and tells anything new."""
        try:
            event = progress_of(message, request_id)
        except ValueError:
            return
        if event.stage is ProgressStage.ACCEPTED:
            yield Accepted(event.position, event.estimate_ms, event.loading)
        elif event.stage is ProgressStage.STARTED:
            yield Started(event.attempt)
        elif event.steps:
            yield Step(event.step or 0, event.steps)
        else:
            yield from self._added(lambda: self._text.take(event))

    def _rest(self, answer: Answer) -> Iterator[Text]:
        """What of a text was not told, so that all that was told is the text."""
        text = next(iter(answer.outputs), None)
        if isinstance(text, str) and (self._text.text or len(answer.outputs) == 1):
            yield from self._added(lambda: self._text.end(text))

    def _added(self, take: Callable[[], str]) -> Iterator[Text]:
        try:
            added = take()
        except Diverged as diverged:
            self._text.text = diverged.text
            yield Text(diverged.text, anew=True)
        else:
            if added:
                yield Text(added)

    def _chunk(self, chunk: Any) -> Iterator[Chunk]:
        data = self._data[chunk.output]
        data += chunk.data
        told = self._told.get(chunk.output, 0)
        if len(data) > told:
            self._told[chunk.output] = len(data)
            yield Chunk(chunk.output, bytes(data[told:]))

    def _whole(self) -> Answer:
        for at, data in self._data.items():
            part = self._result.outputs[at]
            match part.WhichOneof("kind"):
                case "text":
                    part.text = data.decode("utf-8", "replace")
                case "data":
                    part.data = bytes(data)
                case "tensor":
                    part.tensor.data = bytes(data)
        return answer_of(self._result)
