"""How often others load on the same requests: who serves in turn, and who knows the future (pure).

A stream is the models that are asked for, in the order of arrival; `sizes` and `budget` are bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence


def first_in_first_out(stream: Sequence[str], sizes: Mapping[str, int], budget: int) -> int:
    """Loads of one who answers requests in their order and drops what was loaded first."""
    loaded: dict[str, None] = {}
    held = loads = 0
    for model in stream:
        if model in loaded:
            continue
        while loaded and held + sizes[model] > budget:
            gone = next(iter(loaded))
            del loaded[gone]
            held -= sizes[gone]
        loaded[model] = None
        held += sizes[model]
        loads += 1
    return loads


def in_turn(stream: Sequence[str], sizes: Mapping[str, int], budget: int) -> int:
    """Loads of one who answers them in their order and drops what is asked for last from there on.

    Belady's rule (1966), the best there is in turn where all models are of one size.
    """
    next_at = _next_uses(stream)
    due: dict[str, int] = {}
    held = loads = 0
    for number, model in enumerate(stream):
        if model not in due:
            while due and held + sizes[model] > budget:
                gone = max(due, key=due.__getitem__)
                del due[gone]
                held -= sizes[gone]
            held += sizes[model]
            loads += 1
        due[model] = next_at[number]
    return loads


def _next_uses(stream: Sequence[str]) -> list[int]:
    """Of each request the number of the next one for the same model; the length where none is."""
    last: dict[str, int] = {}
    found = [0] * len(stream)
    for number in range(len(stream) - 1, -1, -1):
        found[number] = last.get(stream[number], len(stream))
        last[stream[number]] = number
    return found


def belady(stream: Sequence[str], sizes: Mapping[str, int], budget: int, look_ahead: int) -> int:
    """Loads of one who sees so many requests, and of the future which model it brings last.

    All open requests whose models are loaded are answered, whatever their order; then the model of
    the oldest is loaded in place of those that are asked for last from there on, or never again
    (Belady 1966, with the freedom to answer requests out of turn that our scheduler has).
    """
    later: dict[str, deque[int]] = {}
    for number, model in enumerate(stream):
        later.setdefault(model, deque()).append(number)
    loaded: set[str] = set()
    waiting: dict[str, int] = {}
    oldest = deque[str]()
    read = loads = held = open_now = 0
    while True:
        while read < len(stream) and open_now < look_ahead:
            model = stream[read]
            if model not in loaded:
                if model not in waiting:
                    oldest.append(model)
                waiting[model] = waiting.get(model, 0) + 1
                open_now += 1
            read += 1
        if not oldest:
            return loads
        model = oldest.popleft()
        for each in loaded:
            while later[each] and later[each][0] < read:
                later[each].popleft()
        while loaded and held + sizes[model] > budget:
            gone = max(sorted(loaded), key=lambda each: next(iter(later[each]), len(stream)))
            loaded.remove(gone)
            held -= sizes[gone]
        loaded.add(model)
        held += sizes[model]
        loads += 1
        open_now -= waiting.pop(model)
