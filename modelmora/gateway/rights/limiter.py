"""Whether callers have enough left of their budgets for what they ask, or are told when."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import replace
from http import HTTPStatus
from typing import Self, TypeVar

from modelmora.access.budgets import Bucket, Buckets, Charge, Costs, Over, Untold, used_up
from modelmora.budgets.costs import Expected, used_by
from modelmora.budgets.sharing import Sharing
from modelmora.errors import Code
from modelmora.gateway.hall import Ask
from modelmora.gateway.outcomes import Refusal, answer_of
from modelmora.kafka.pulse import Pulse
from modelmora.kafka.schema_registry import Schemas
from modelmora.kafka.writing.publisher import Record
from modelmora.messages import InferenceResult
from modelmora.records.limiting import Limiting
from modelmora.settings import Settings

V = TypeVar("V")
WAIT_S = 2.0
"""A request waits no longer until others know what was used here."""
MOST_JOBS = 10_000
quota: ContextVar[dict[Bucket, None] | None] = ContextVar("quota", default=None)
"""The buckets from which this call was charged, for who tells its caller what is left."""
_UNKNOWN_END = (Code.EXPIRED, Code.CANCELLED)


async def _alone(_: float) -> None:
    """There is nobody to tell."""


class Limiter:
    """Charges requests when they come, by what is known of them, and settles by their outcomes.

    Without budgets nothing is charged. `told` waits, no longer than it is told, until others know
    what was used here.
    """

    def __init__(
        self,
        buckets: Buckets,
        told: Callable[[float], Awaitable[None]] = _alone,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._buckets = buckets
        self._now = monotonic
        self._told = told
        self._expected = Expected()
        self._jobs: OrderedDict[str, tuple[str, Charge]] = OrderedDict()
        self._ended: OrderedDict[str, tuple[str, InferenceResult]] = OrderedDict()
        """Jobs that have ended and are not followed: the outcome may be faster than the answer."""
        self._sharing: Sharing | None = None

    @classmethod
    def of(
        cls,
        settings: Settings,
        pulse: Pulse,
        send: Callable[[Record], None],
        writer: str,
        schemas: Schemas | None,
        limiting: Limiting,
    ) -> Self:
        """The limiter of a gateway, which shares its budgets with others."""
        buckets = Buckets(limiting.budgets())
        sharing = Sharing(settings, buckets, pulse, send, writer, schemas, limiting.budgets)
        limiter = cls(buckets, sharing.told)
        limiter._sharing = sharing
        return limiter

    async def start(self) -> None:
        """Read what is owed by now. Raises KafkaError."""
        if self._sharing:
            await self._sharing.start()

    def leave(self) -> None:
        """Tell the others what is left to tell."""
        if self._sharing:
            self._sharing.leave()

    async def stop(self) -> None:
        """Hear no more of the others."""
        if self._sharing:
            await self._sharing.stop()

    async def charge(self, ask: Ask) -> Charge | None:
        """Take what the request is expected to use. Raises Refusal (`rate_limited`)."""
        if not (self._sharing.counts if self._sharing else self._buckets.budgets):
            return None
        costs = self._expected.of(ask.model, ask.inputs, ask.parameters)
        began = now = self._now()
        while True:
            found = self._buckets.charge(ask.principal, ask.model, ask.lane, costs, now)
            if not isinstance(found, Untold) or now - began >= WAIT_S:
                break
            await self._told(WAIT_S - (now - began))
            now = self._now()
        told = quota.get()
        if told is not None:
            told |= dict.fromkeys(found.buckets)
        if isinstance(found, Charge):
            return found
        raise _refusal(found, ask.request_id or "")

    def settle(self, ask: Ask, charge: Charge | None, result: InferenceResult) -> None:
        """Charge what the outcome says instead; nothing where another of its id has run for it."""
        if charge and ask.course.spared:
            self._buckets.settle(charge, Costs(), self._now())
        elif charge:
            used = used_by(result)
            self._expected.learn(ask.model.partition("@")[0], used)
            self._buckets.settle(charge, used, self._now())

    def refused(self, ask: Ask, charge: Charge | None, refusal: Refusal) -> None:
        """Give back what a request without a result did not use.

        (1) It may have run, nobody knows how long; unless it was another of its id.
        (2) Nobody had room for it: then it does not count as one either.
        (3) It ended otherwise: it counts, with the time that it ran.
        """
        # (1)
        if charge is None:
            return
        if ask.course.spared:
            self._buckets.settle(charge, Costs(), self._now())
            return
        if refusal.code in _UNKNOWN_END and not refusal.device_ms:
            return
        # (2)
        later = answer_of(refusal.code).http == HTTPStatus.SERVICE_UNAVAILABLE
        # (3)
        used = Costs(0.0 if later else charge.costs.requests, device_ms=refusal.device_ms)
        self._buckets.settle(charge, used, self._now())

    def follow(self, ask: Ask, request_id: str, charge: Charge | None) -> None:
        """Settle this job when its outcome passes, or has passed.

        It costs nothing where it was there already.
        """
        if charge is None:
            return
        if ask.course.spared:
            self._buckets.settle(charge, Costs(), self._now())
            return
        _keep(self._jobs, request_id, (ask.principal, charge))
        if found := self._ended.pop(request_id, None):
            self.passed(found[1], found[0])

    def passed(self, result: InferenceResult, principal: str) -> None:
        """The outcome of a principal's job has passed here."""
        found = self._jobs.get(result.request_id)
        if found is None and self._buckets.budgets:
            told = replace(result, outputs=("",) * len(result.outputs))
            _keep(self._ended, result.request_id, (principal, told))
        elif found and found[0] == principal:
            del self._jobs[result.request_id]
            used = used_by(result)
            self._expected.learn(result.model, used)
            self._buckets.settle(found[1], used, self._now())


def _keep(kept: OrderedDict[str, V], key: str, value: V) -> None:
    kept[key] = value
    if len(kept) > MOST_JOBS:
        kept.popitem(last=False)


UNLIMITED = Limiter(Buckets({}))
"""Where no budget is told."""


def _refusal(found: Over | Untold, request_id: str) -> Refusal:
    if isinstance(found, Untold):
        message = "others are not told what was used here; try again a little later"
        return Refusal(Code.RATE_LIMITED, message, request_id=request_id)
    message, wait_ms = used_up(found.bucket, found.wait_s)
    return Refusal(Code.RATE_LIMITED, message, retry_after_ms=wait_ms, request_id=request_id)
