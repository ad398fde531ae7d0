"""What it takes to know who calls, what they may, and what they have left: of each call."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

from modelmora.access.budgets import Buckets
from modelmora.access.files import KeyFile, Keyring
from modelmora.access.keys import Keys, made
from modelmora.access.rights import Rights, Rule, Told, Verb
from modelmora.bench.report import Figure, at_most
from modelmora.gateway.hall import Ask
from modelmora.gateway.rights.guard import Guard
from modelmora.gateway.rights.limiter import Limiter
from modelmora.messages import Lane
from modelmora.settings.budgets import Budget, Rate

CALLS = 20_000
ROUNDS = 5
PRINCIPAL, MODEL = "alice", "embed-small"
ROLES = 10


def guarding(scale: float) -> list[Figure]:
    """An API key, rights of ten roles and a budget of requests: CPU time of one after the other."""
    with tempfile.TemporaryDirectory(prefix="modelmora-bench-") as folder:
        steps = _steps(Path(folder))
        count, rounds = int(CALLS * scale), max(1, int(ROUNDS * scale))
        taken = {
            name: median(asyncio.run(_each_us(step, count)) for _ in range(rounds))
            for name, step in steps.items()
        }
    beside = {f"{name} us": us for name, us in taken.items()}
    return [Figure("guard.check_us", sum(taken.values()), "us", at_most(20), None, beside)]


def _steps(folder: Path) -> dict[str, Callable[[], Awaitable[object]]]:
    file = KeyFile(folder / "keys.json", folder / "keys.pepper")
    shown: list[str] = []

    def one(keys: Keys, pepper: bytes) -> Keys:
        text, key = made((), PRINCIPAL, pepper, time.time_ns() // 1_000_000)
        shown.append(text)
        return (*keys, key)

    file.change(one)
    guard = Guard(Keyring(file))
    authorization = [f"Bearer {shown[0]}"]
    rule = Rule(verbs=(Verb.INFER,), models=("embed-*",))
    roles = {f"r{number}": (rule,) for number in range(ROLES)}
    rights = Rights(Told(roles, {PRINCIPAL: tuple(roles)}))
    limiter = Limiter(Buckets({"all": Budget(requests=Rate(amount=10**9))}))
    ask = Ask("rest", MODEL, ("text",), principal=PRINCIPAL)

    async def may() -> object:
        return rights.decide(PRINCIPAL, Verb.INFER, MODEL, Lane.NORMAL)

    return {
        "key": lambda: guard.principal(authorization),
        "rights": may,
        "budget": lambda: limiter.charge(ask),
    }


async def _each_us(step: Callable[[], Awaitable[object]], count: int) -> float:
    began = time.thread_time()
    for _ in range(count):
        await step()
    return (time.thread_time() - began) / count * 1e6
