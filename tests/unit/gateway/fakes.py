"""A hall without topics: answers as it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from modelmora.errors import Code
from modelmora.gateway.hall import Ask, Wish
from modelmora.gateway.outcomes import Refusal
from modelmora.kafka.orders import Answer, Order
from modelmora.messages import (
    Content,
    Health,
    InferenceResult,
    RegistryKind,
    RegistryRecord,
    Source,
    State,
    Status,
    Timings,
)


class FakeHall:
    """Implements `hall.Hall`: model `echo` answers, every other is unknown."""

    def __init__(self, outputs: tuple[Content, ...] | None = None, limit: int = 1 << 20) -> None:
        self.asks: list[Ask] = []
        self.wishes: list[Wish] = []
        self.outputs = outputs
        self.refusal: Refusal | None = None
        self.blocked: asyncio.Event | None = None
        self.entered = asyncio.Event()
        self.gone = asyncio.Event()
        self.held = 0
        self.limit = limit
        self.told: tuple[str, ...] = ()
        self.reasons: dict[str, str] = {}

    async def infer(self, ask: Ask) -> InferenceResult:
        self.asks.append(ask)
        self.entered.set()
        if self.blocked:
            try:
                await self.blocked.wait()
            except asyncio.CancelledError:
                self.gone.set()
                raise
        if self.refusal:
            raise self.refusal
        if ask.model != "echo":
            raise Refusal(Code.UNKNOWN_MODEL, "no such model")
        return InferenceResult(
            ask.request_id or "made-here",
            Status.COMPLETED,
            ask.model,
            "1",
            Source("t", 0, 0),
            timings=Timings(1.0, 2.0, 3.0, 6.0),
            outputs=ask.inputs if self.outputs is None else self.outputs,
        )

    async def order(self, wish: Wish) -> Order:
        self.wishes.append(wish)
        if self.refusal:
            raise self.refusal
        order = Order(wish.verb, 7)
        if wish.wait_s:
            order.answers["n1"] = Answer("n1", f"{wish.model}@1", State.READY, done=True)
        return order

    def status(self) -> Mapping[str, Mapping[str, Health]]:
        return {"n1": self.health()}

    def hold(self, size: int) -> None:
        if self.held + size > self.limit:
            raise Refusal(Code.BUSY, "too many bytes")
        self.held += size

    def release(self, size: int) -> None:
        self.held -= size

    def faults(self) -> tuple[str, ...]:
        return self.told

    def models(self) -> tuple[RegistryRecord, ...]:
        return tuple(
            RegistryRecord(RegistryKind.MODEL, name, "1", "echo", "tests", "tests")
            for name in ("echo", *self.reasons)
        )

    def health(self) -> Mapping[str, Health]:
        failed = {f"{name}@1": Health(State.FAILED, why) for name, why in self.reasons.items()}
        return {"echo@1": Health(State.READY), **failed}
