"""What is denied again and again told a few times only; decides, and keeps no time itself."""

from __future__ import annotations

from dataclasses import dataclass, replace

from modelmora.audit.chain import Told

WINDOW_MS = 10_000
MOST_KINDS = 100
"""Different refusals that are told and counted in that time; of others it is told how many."""
SEVERAL = "several"
_OTHERS = ("", "", "", "")


@dataclass(slots=True)
class _Counted:
    first: Told
    again: int = 0


class Folding:
    """Lets a first refusal through, and counts what is like it for the next ten seconds.

    Whoever calls a thousand times a second without a right must not fill what is kept for a year,
    not even with another name each time.
    """

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, ...], _Counted] = {}

    def take(self, told: Told) -> list[Told]:
        """What is to be told now; nothing where it is counted."""
        if told.allowed:
            return [told]
        due = self.due(told.time)
        kind = (told.verb, told.principal, told.model or "", told.reason or "")
        counted = self._kinds.get(kind)
        if counted:
            counted.again += 1
            return due
        if len(self._kinds) < MOST_KINDS:
            self._kinds[kind] = _Counted(told)
            return [*due, told]
        other = replace(told, principal=SEVERAL, model=None, reason="of other kinds")
        self._kinds.setdefault(_OTHERS, _Counted(other)).again += 1
        return due

    def due(self, now_ms: int | None = None) -> list[Told]:
        """Of all that were counted for long enough (None: of all) how many there were."""
        over = [
            kind
            for kind, counted in self._kinds.items()
            if now_ms is None or not 0 <= now_ms - counted.first.time < WINDOW_MS
        ]
        ended = [self._kinds.pop(kind) for kind in over]
        return [_more(each, now_ms) for each in ended if each.again]

    @property
    def counts(self) -> bool:
        """Whether something is counted that is to be told later."""
        return bool(self._kinds)


def _more(counted: _Counted, now_ms: int | None) -> Told:
    first = counted.first
    why = f"{counted.again} more like it within {WINDOW_MS // 1000} s: {first.reason or ''}"
    time = first.time if now_ms is None else now_ms
    return replace(first, time=time, reason=why.rstrip(": "), request_id=None)
