"""Requests that no gateway has charged: charged here, and put off where their budget is used up."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Set
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Protocol

from modelmora.access.budgets import Bucket, Buckets, Charge, Costs, Over, Untold, used_up
from modelmora.access.signing import Verifier
from modelmora.budgets.costs import Expected, used_in, used_in_vain
from modelmora.budgets.turns import HOLD_S, Away, Turn, turn_of
from modelmora.errors import Code, RequestError
from modelmora.kafka.background import background
from modelmora.kafka.batches import Partition
from modelmora.kafka.topics import TIERS, Topic
from modelmora.messages import Content, ResultHead
from modelmora.serving import Incoming, Record
from modelmora.wire import count_of, decode_request

LOOK_S = 0.05
MOST_S = 2 * HOLD_S
"""Whose turn others have used for so long is put off after all."""


class Shared(Protocol):
    """How the buckets are shared; see `modelmora.budgets.sharing`."""

    @property
    def counts(self) -> bool:
        """Whether there is any budget by now."""

    async def told(self, most_s: float) -> None:
        """Wait, not long, until others know what was used here."""


class Taker(Protocol):
    """Who runs requests; see `modelmora.serving.Service`."""

    def takes(self, request: Incoming) -> bool:
        """Whether its model is served here, and it may ask it."""

    def is_cancelled(self, request: Incoming) -> bool:
        """Whether it was taken back."""

    def awaits(self, request: Incoming) -> bool:
        """Whether it waits for something; it may end meanwhile."""

    def reclaim(self, request: Incoming) -> bool:
        """Whether it has not ended; it waits no more."""

    def refuse(self, request: Incoming, error: RequestError) -> None:
        """It is not to be run, for this reason."""

    def arm(self) -> None:
        """That was all for now."""


class Later(Protocol):
    """Who has requests read again later; see `modelmora.agents.retries`."""

    def left_ms(self, request: Incoming) -> float:
        """How much time it has left."""

    def put_off(self, request: Incoming, tier: Topic, error: RequestError) -> None:
        """Have it read again after this delay; where that is not to be had it ends so."""


@dataclass(slots=True, eq=False)
class _Held:
    """One that waits in memory, since then (monotonic s)."""

    request: Incoming
    name: str
    costs: Costs
    since: float
    buckets: tuple[Bucket, ...] = ()


class Toll:
    """Stands before the service, behind those who wait for another of their id.

    What a gateway has written it has charged. All else is charged here when it comes, and settled
    by its outcome. What leaves without one is given back, and charged where it is read.
    """

    def __init__(
        self,
        buckets: Buckets,
        shared: Shared,
        verifier: Verifier,
        taker: Taker,
        later: Later,
        named: Callable[[Incoming], str],
        monotonic: Callable[[], float],
        most: float = inf,
    ) -> None:
        """`named` tells what a request asks that names no model; `most` wait in memory."""
        self.enter: Callable[[Incoming], None] = lambda _: None
        """Takes one that has waited and has paid."""
        self._buckets = buckets
        self._shared = shared
        self._verifier = verifier
        self._taker = taker
        self._later = later
        self._named = named
        self._now = monotonic
        self._most = most
        self._expected = Expected()
        self._away: Away[Topic] = Away(TIERS)
        self._charged: dict[Record, Charge] = {}
        self._held: list[_Held] = []
        self._ahead: defaultdict[Bucket, float] = defaultdict(float)
        """How much of each those will use who wait in memory."""
        self._task: asyncio.Task[None] | None = None
        self.count = 0
        """How often one was put off."""

    def takes(self, request: Incoming) -> bool:
        """Whether the request waits here, is put off or refused; else it is to go on now.

        What does not run here goes on as it is: it is handed on, or ends.
        """
        headers, request_id = request.record.headers, request.head.request_id
        if not self._shared.counts or self._verifier.is_of_gateway(headers, request_id):
            return False
        over = self._later.left_ms(request) <= 0 or self._taker.is_cancelled(request)
        if over or not self._taker.takes(request):
            return False
        name = (request.head.model or self._named(request)).partition("@")[0]
        return not self._pays(_Held(request, name, self._costs(name, request), self._now()))

    def settle(self, request: Incoming, head: ResultHead | None, outputs: bytes) -> None:
        """Charge what the outcome says instead; None: it has none here, and all is given back."""
        charge = self._charged.pop(request.record, None)
        if charge is None:
            return
        if head is None:
            used = Costs()
        elif head.error is None:
            used = used_in(head.settings, count_of(outputs), head.timings)
            self._expected.learn(head.model, used)
        else:
            used = used_in_vain(head.error.code, head.timings)
        self._buckets.settle(charge, used, self._now())

    def lost(self, records: Iterable[Record]) -> None:
        """These were forgotten without an outcome; who reads them is charged for them."""
        for record in records if self._charged else ():
            if charge := self._charged.pop(record, None):
                self._buckets.settle(charge, Costs(), self._now())

    def drop(self, partitions: Set[Partition]) -> list[Record]:
        """Forget those of these partitions that wait here; returns their records."""
        records = [each.request.record for each in self._held if not each.request.ended]
        gone = {each for each in records if (each.topic, each.partition) in partitions}
        for one in [each for each in self._held if each.request.record in gone]:
            self._let_go(one)
        return [*gone]

    async def stop(self) -> None:
        """Nothing goes on any more."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # Charging ------------------------------------------------------------------------------------

    def _costs(self, name: str, request: Incoming) -> Costs:
        """What it is expected to use; what it reads is looked at only where that counts."""
        inputs: tuple[Content, ...] = (b"",) * request.head.inputs
        if any(each.tokens for each in self._buckets.budgets.values()):
            with suppress(RequestError):  # it is for the child to say
                inputs = decode_request(request.value or request.record.value).inputs
        return self._expected.of(name, inputs, request.head.parameters)

    def _pays(self, one: _Held) -> bool:
        """Whether it has paid; else it waits, here or on a topic, or is refused.

        (1) Behind those that wait for the same it waits as they do.
        (2) Others do not know yet what was used here: it waits until they do.
        """
        request, now = one.request, self._now()
        found = self._buckets.of(request.principal, one.name, request.lane, now)
        one.buckets = tuple(each for each in found if one.costs[each.unit])
        # (1)
        charge = None if self._is_behind(one) else self._charge(one)
        if isinstance(charge, Charge):
            return True
        turn = turn_of(one.buckets, one.costs, self._ahead, now)
        left_s = self._later.left_ms(request) / 1000
        # (2)
        soon = isinstance(charge, Untold) or turn.wait_s <= min(HOLD_S, left_s)
        if soon and len(self._held) < self._most:
            self._hold(one)
        else:
            self._send_away(one, turn)
        return False

    def _is_behind(self, one: _Held) -> bool:
        return any(self._ahead.get(each) for each in one.buckets)

    def _charge(self, one: _Held) -> Charge | Over | Untold:
        request, now = one.request, self._now()
        found = self._buckets.charge(request.principal, one.name, request.lane, one.costs, now)
        if isinstance(found, Charge):
            self._charged[request.record] = found
        return found

    def _send_away(self, one: _Held, turn: Turn) -> None:
        """Put it off, or refuse it where it has no time for that."""
        request, left_s = one.request, self._later.left_ms(one.request) / 1000
        tier = self._away.tier(turn, left_s, self._now())
        message, wait_ms = used_up(turn.bucket, turn.wait_s)
        error = RequestError(Code.RATE_LIMITED, message, retry_after_ms=wait_ms)
        if tier is None:
            self._taker.refuse(request, error)
        elif self._taker.reclaim(request):
            self.count += 1
            self._later.put_off(request, tier, error)

    # Waiting here --------------------------------------------------------------------------------

    def _hold(self, one: _Held) -> None:
        if not self._taker.awaits(one.request):
            return
        self._held.append(one)
        for each in one.buckets:
            self._ahead[each] += one.costs[each.unit]
        if self._task is None or self._task.done():
            self._task = background(self._serve(), "toll", ends=True)

    def _let_go(self, one: _Held) -> None:
        self._held.remove(one)
        for each in one.buckets:
            self._ahead[each] -= one.costs[each.unit]
        if not self._held:  # sums of fractions
            self._ahead.clear()

    async def _serve(self) -> None:
        while self._held:
            await (self._shared.told(LOOK_S) if self._buckets.others else asyncio.sleep(LOOK_S))
            self._go_on()

    def _go_on(self) -> None:
        """Let those go on, in their order, for whom there is enough by now.

        Whose turn does not come, since others use it, is put off after all.
        """
        now, blocked = self._now(), set[Bucket]()
        for one in [*self._held]:
            free = blocked.isdisjoint(one.buckets)
            if one.request.ended:
                self._let_go(one)
            elif free and isinstance(self._charge(one), Charge):
                self._let_go(one)
                if self._taker.reclaim(one.request):
                    self.enter(one.request)
            elif now - one.since > MOST_S:
                self._let_go(one)
                self._send_away(one, turn_of(one.buckets, one.costs, self._ahead, now))
            else:
                blocked.update(one.buckets)
        self._taker.arm()
