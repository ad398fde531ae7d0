"""Text that comes in chunks: what of it can be shown now, however often it is begun anew."""

from __future__ import annotations

from modelmora.messages.content import ChatMessage
from modelmora.messages.events import ProgressEvent, ProgressStage
from modelmora.messages.inference import InferenceResult


class Diverged(Exception):
    """What was computed another time is not what was shown; `text` is what it is now."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text


class Followed:
    """A text as the rule of chunks has it: number 0 begins anew, the next number continues."""

    def __init__(self) -> None:
        self.text: str | None = ""
        """What it is by now; None where a part of it is missing."""
        self._next = 0

    def take(self, event: ProgressEvent) -> bool:
        """Whether an event was a chunk of the text."""
        if event.stage is not ProgressStage.CHUNK or event.steps:
            return False
        if event.sequence == 0:
            self.text, self._next = "", 0
        if self.text is None or event.sequence != self._next:
            self.text = None
        else:
            self._next += 1
            self.text += (event.chunk or b"").decode("utf-8", "replace")
        return True

    def missing(self, whole: str) -> tuple[int, str] | None:
        """The chunk, number and text, that makes it whole; None where it is."""
        if self.text == whole:
            return None
        if self.text is not None and whole.startswith(self.text):
            return self._next, whole[len(self.text) :]
        return 0, whole

    def rest_of(self, result: InferenceResult) -> ProgressEvent | None:
        """The chunk to tell right before the result of a text, for the chunks to be the whole."""
        output = next(iter(result.outputs), None)
        if isinstance(output, ChatMessage):
            output = output.content
        if self.text == "" or not isinstance(output, str) or not (rest := self.missing(output)):
            return None
        sequence, more = rest
        return ProgressEvent(
            result.request_id,
            ProgressStage.CHUNK,
            f"{result.model}@{result.version}",
            chunk=more.encode(),
            attempt=result.attempt,
            sequence=sequence,
        )


class Pieces:
    """The text of one request as far as it was given out, which is never taken back.

    A chunk that is missing ends the giving out until the whole is known, or it begins anew.
    """

    def __init__(self) -> None:
        self.text = ""
        """What was given out."""
        self._followed = Followed()

    def take(self, event: ProgressEvent) -> str:
        """What a chunk adds, often nothing. Raises Diverged."""
        if not self._followed.take(event) or self._followed.text is None:
            return ""
        return self._give(self._followed.text, whole=False)

    def end(self, text: str) -> str:
        """What of the whole was not given out yet. Raises Diverged."""
        return self._give(text, whole=True)

    def _give(self, text: str, *, whole: bool) -> str:
        if text.startswith(self.text):
            added = text[len(self.text) :]
            self.text = text
            return added
        if whole or not self.text.startswith(text):
            raise Diverged(text)
        return ""
