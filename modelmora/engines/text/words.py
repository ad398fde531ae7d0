"""Tokens to text as they come: never half a character, and never a part of a stop string."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_UNFINISHED = "\N{REPLACEMENT CHARACTER}"
_MOST_PENDING = 8
"""Tokens after which a character that is not finished will never be: a character has 4 bytes."""


class Words:
    """The text of one answer.

    A tokenizer may write a token otherwise at the begin of a text (a space less) or in the midst
    of a character, so each new token is decoded behind the ones before it.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], stop: Sequence[str] = ()) -> None:
        self._decode, self._stop = decode, stop
        self._ids: list[int] = []
        self._before = self._decoded = 0
        self._held = ""
        self.stopped = False
        """Whether a stop string has come; what follows is not said."""

    def add(self, token: int) -> str:
        """What can be said now that this token has come."""
        self._ids.append(token)
        return self._hold(self._fresh(last=False), last=False)

    def end(self) -> str:
        """What was held back, as no more tokens come."""
        return self._hold(self._fresh(last=True), last=True)

    def _fresh(self, *, last: bool) -> str:
        known = self._decode(self._ids[self._before : self._decoded])
        text = self._decode(self._ids[self._before :])
        pending = len(self._ids) - self._decoded
        if not last and text.endswith(_UNFINISHED) and pending < _MOST_PENDING:
            return ""
        self._before, self._decoded = self._decoded, len(self._ids)
        return text[len(known) :]

    def _hold(self, fresh: str, *, last: bool) -> str:
        if self.stopped:
            return ""
        text = self._held + fresh
        found = [place for stop in self._stop if (place := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        held = 0 if last else max((begun(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]


def begun(text: str, stop: str) -> int:
    """How many characters at the end of the text may be the begin of the stop string."""
    longest = min(len(stop) - 1, len(text))
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
