"""The load that does not stop: requests at a told rate in a thread, and callers of the gateway."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import replace

from tests.faults.callers import Callers
from tests.faults.chaos.scene import INLINE_BYTES, KEYS
from tests.foreign import LANES, Broken, Draft, Foreign, draft

TICK_S = 0.05
# Shorter than a long freeze: what is held then expires, unless another has it.
TIMEOUTS_MS = (None, None, None, 10_000)
BROKEN = tuple(kind for kind in Broken if kind is not Broken.OVER_LIMIT)
BROKEN_SHARE, SLOW_SHARE, TWIN_SHARE, LARGE_SHARE, FRAMED_SHARE = 0.01, 0.03, 0.005, 0.002, 0.02
LARGE = 2 * INLINE_BYTES
"""So long a text comes back in an object."""
CALLS_S, CALLS_WAITING = 2.0, 64


def framed(one: Draft, schema: int) -> Draft:
    """The same under an id of a schema registry."""
    assert one.value is not None
    return replace(one, value=b"\0" + schema.to_bytes(4, "big") + one.value[10:])


class Load:
    """Sends from `start` until `stop`; behind a broker that was away it catches up."""

    def __init__(
        self, foreign: Foreign, callers: Callers, rate: float, seed: int, schema: int
    ) -> None:
        self._foreign = foreign
        self._schema = schema
        self._callers = callers
        self._rate = rate
        self._chance = random.Random(f"{seed} load")
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._fault: BaseException | None = None
        self.sent = 0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; raises what has ended it before."""
        self._ends.set()
        self._thread.join()
        if self._fault:
            raise self._fault

    def _run(self) -> None:
        try:
            began, calls = time.monotonic(), 0
            while not self._ends.wait(TICK_S):
                passed = time.monotonic() - began
                while self.sent < passed * self._rate:
                    self._send()
                while calls < passed * CALLS_S:
                    calls += 1
                    self._call(calls)
        except BaseException as error:
            self._fault = error

    def _send(self) -> None:
        lane, made = self._chance.choice(LANES), self._made(self.sent)
        one = replace(made, key=b"%d" % self._chance.randrange(KEYS))
        self._foreign.send(lane, one)
        self.sent += 1
        if not one.broken and self._chance.random() < TWIN_SHARE:
            self._foreign.send(lane, one)
            self.sent += 1

    def _made(self, index: int) -> Draft:
        chance, text = self._chance, [f"input {index}"]
        timeout_ms = chance.choice(TIMEOUTS_MS)
        if chance.random() < BROKEN_SHARE:
            return draft("echo", text, broken=chance.choice(BROKEN))
        if chance.random() < SLOW_SHARE:
            ms = chance.choice((1.0, 5.0, 20.0))
            return draft("sleep", text, {"ms": ms}, timeout_ms=timeout_ms)
        if chance.random() < LARGE_SHARE:
            return draft("echo", ["x" * LARGE], timeout_ms=timeout_ms)
        one = draft("echo", text, timeout_ms=timeout_ms)
        return framed(one, self._schema) if chance.random() < FRAMED_SHARE else one

    def _call(self, number: int) -> None:
        if self._callers.waiting > CALLS_WAITING:
            return
        body = {"inputs": [f"call {number}"], "priority": self._chance.choice(LANES)}
        timeout_ms = self._chance.choice(TIMEOUTS_MS)
        model = self._chance.choice(("echo", "sleep"))
        self._callers.ask(model, body | ({"timeout_ms": timeout_ms} if timeout_ms else {}))
