"""What a request tells before its outcome: chunks of text and steps, coalesced and numbered."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

CHUNK_S = 0.02
"""A request tells no more often; what comes meanwhile is told together."""
CHUNK_CHARS = 60 << 10
"""What fits one CHUNK frame, whatever the characters."""

LIFE_S = 1.0
"""How often a child that tells nothing gives a sign of life between steps."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """More of one request's output, steps done of so many, or, with neither, a sign of life.

    With text `step` is how many tokens gave it so far, and `steps` 0.
    """

    index: int
    sequence: int
    text: str = ""
    step: int = 0
    steps: int = 0

    @property
    def tells(self) -> bool:
        """Whether there is something to tell."""
        return bool(self.text or self.steps)


@dataclass(frozen=True, slots=True)
class Told:
    """What a request has told so far: chunks, and the characters and CRC-32 of their text."""

    chunks: int = 0
    chars: int = 0
    crc: int = 0

    def and_then(self, chunk: Chunk) -> Told:
        """After one more; number 0 begins anew."""
        before = self if chunk.sequence else Told()
        crc = zlib.crc32(chunk.text.encode(), before.crc)
        return Told(chunk.sequence + 1, before.chars + len(chunk.text), crc)


NOTHING_TOLD = Told()


class Stream:
    """One request's chunks, across its restarts.

    What is computed anew is held back until it is as long as what was told. Where it is the same,
    only what follows is told; where it is another, all of it, from number 0.
    """

    def __init__(self, told: Told, index: int = 0) -> None:
        self.told = told
        self._index = index
        self._at = float("-inf")
        self.restart()

    def restart(self) -> None:
        """Its text is computed anew from here."""
        self._held: list[str] = []
        self._tokens = 0
        self._behind = self.told.chunks > 0

    def add(self, text: str) -> None:
        """More of the text: what a token gave."""
        self._tokens += 1
        self._held.append(text)

    def chunks(self, now: float, *, last: bool = False) -> list[Chunk]:
        """What is to be told now (monotonic s); all that is held, where it is the last."""
        if not self._held or not (last or now - self._at >= CHUNK_S):
            return []
        text = "".join(self._held)
        if self._behind:
            if len(text) < self.told.chars and not last:
                self._held = [text]
                return []
            text = self._beyond_told(text)
        self._held, self._at = [], now
        pieces = range(0, len(text), CHUNK_CHARS)
        return [self._next(text[at : at + CHUNK_CHARS], self._tokens) for at in pieces]

    def step(self, done: int, total: int, now: float) -> list[Chunk]:
        """So many steps are done, unless that was told a moment ago."""
        if now - self._at < CHUNK_S and done < total:
            return []
        self._at = now
        return [self._next("", done, total)]

    def _beyond_told(self, text: str) -> str:
        """What the reader lacks of the text."""
        self._behind = False
        told = self.told
        if zlib.crc32(text[: told.chars].encode()) == told.crc and len(text) >= told.chars:
            return text[told.chars :]
        self.told = Told()
        return text

    def _next(self, text: str, step: int = 0, steps: int = 0) -> Chunk:
        chunk = Chunk(self._index, self.told.chunks, text, step, steps)
        self.told = self.told.and_then(chunk)
        return chunk
