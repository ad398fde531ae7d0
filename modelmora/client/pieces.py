"""What a stream tells of a request, as pieces, whichever gateway tells it."""

from __future__ import annotations

from collections.abc import Iterator
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
from modelmora.messages import ProgressEvent, ProgressStage
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
            yield self._whole()

    def progress(self, message: Any, request_id: str) -> Iterator[Progress]:
        """The piece of a `Progress`, if it is known and tells anything new."""
        try:
            event = progress_of(message, request_id)
        except ValueError:
            return
        if event.stage is ProgressStage.ACCEPTED:
            yield Accepted(event.position, event.estimate_ms)
        elif event.stage is ProgressStage.STARTED:
            yield Started(event.attempt)
        elif event.steps:
            yield Step(event.step or 0, event.steps)
        elif text := self._more(event):
            yield text

    def _more(self, event: ProgressEvent) -> Text | None:
        try:
            added = self._text.take(event)
        except Diverged as diverged:
            self._text.text = diverged.text
            return Text(diverged.text, anew=True)
        return Text(added) if added else None

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
