"""Text that comes in chunks: what of it can be shown now, however often it is begun anew."""

from __future__ import annotations

from modelmora.messages import ProgressEvent, ProgressStage


class Diverged(Exception):
    """What was computed another time is not what was shown."""


class Pieces:
    """The text of one request as far as it was given out, which is never taken back.

    A chunk that is missing ends the giving out until the whole is known, or it begins anew.
    """

    def __init__(self) -> None:
        self.text = ""
        """What was given out."""
        self._read: str | None = ""
        """What this attempt has told so far; None where a part of it is missing."""
        self._next = 0

    def take(self, event: ProgressEvent) -> str:
        """What a chunk adds, often nothing. Raises Diverged."""
        if event.stage is not ProgressStage.CHUNK or event.steps:
            return ""
        if event.sequence == 0:
            self._read, self._next = "", 0
        if self._read is None or event.sequence != self._next:
            self._read = None
            return ""
        self._next += 1
        self._read += (event.chunk or b"").decode("utf-8", "replace")
        return self._give(self._read, whole=False)

    def end(self, text: str) -> str:
        """What of the whole was not given out yet. Raises Diverged."""
        return self._give(text, whole=True)

    def _give(self, text: str, *, whole: bool) -> str:
        if text.startswith(self.text):
            added = text[len(self.text) :]
            self.text = text
            return added
        if whole or not self.text.startswith(text):
            raise Diverged
        return ""
