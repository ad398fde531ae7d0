"""One greedy caller beside nine modest ones, in simulated time, before a server in turn."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

import pytest

from modelmora.access.budgets import Buckets, Charge, Costs
from modelmora.messages import Lane
from modelmora.settings import AccessSettings

MODEST = tuple(f"modest-{number}" for number in range(9))
SECONDS, TICK_MS, SERVED_MS = 60, 2, 10
PAUSE_MS = 150
"""Between an answer and the next call of one who is modest; one who is greedy calls each tick."""


def answered(budgets: dict[str, Any], *, greedy: bool) -> Counter[str]:
    """How many calls each caller gets answered of a server that takes them as they come."""
    buckets = Buckets(AccessSettings.model_validate({"budgets": budgets}).budgets)
    ready = {name: number * PAUSE_MS // len(MODEST) for number, name in enumerate(MODEST)}
    line: deque[str] = deque()
    done, free_ms = Counter[str](), 0

    def call(who: str, now_ms: int) -> bool:
        costs, now = Costs(1.0), now_ms / 1000
        if not isinstance(buckets.charge(who, "m", Lane.NORMAL, costs, now), Charge):
            return False
        line.append(who)
        return True

    for now_ms in range(0, 1000 * SECONDS, TICK_MS):
        if greedy:
            call("greedy", now_ms)
        for who in [each for each, at_ms in ready.items() if at_ms <= now_ms]:
            if call(who, now_ms):
                del ready[who]
        if line and free_ms <= now_ms:
            who, free_ms = line.popleft(), now_ms + SERVED_MS
            done[who] += 1
            if who != "greedy":
                ready[who] = free_ms + PAUSE_MS
    return done


def test_nine_who_are_modest_keep_what_they_get_alone() -> None:
    told = {"each": {"requests": {"amount": 8, "per": "second"}}}
    alone = answered(told, greedy=False)
    beside, crowded = answered(told, greedy=True), answered({}, greedy=True)
    for name in MODEST:
        assert beside[name] >= 0.95 * alone[name]
        assert crowded[name] < 0.5 * alone[name]
    assert beside["greedy"] == pytest.approx(8 * SECONDS, rel=0.05)
