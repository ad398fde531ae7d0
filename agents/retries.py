"""What failed through no fault of its own is put off and tried again, within a budget."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from modelmora.agents.handon import Writer
from modelmora.errors import Code, RequestError
from modelmora.kafka.topics import TIERS, Topic
from modelmora.messages import Timings, is_transient
from modelmora.messages.headers import is_awaited
from modelmora.serving import BrokerClock, Incoming
from modelmora.settings import Settings

AGAIN_MS = 1000
"""When a caller may ask again, where nobody knows better."""
SPARE = 10.0

End = Callable[[RequestError], None]


class Budget:
    """A token bucket: each first try earns a share of a further one.

    So further tries are at most that share of the first ones, and `SPARE` more.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._tokens = SPARE

    def earn(self) -> None:
        """A request has come for the first time."""
        self._tokens = min(self._tokens + self._share, 100 * SPARE)

    def spend(self) -> bool:
        """Whether one more may be tried again."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def tier_for(retries: int, left_ms: float) -> Topic | None:
    """Where to put off what was put off so often; None where its time is up before it is read.

    (1) Each time a longer delay, in the end the longest.
    (2) Or the longest shorter one that leaves it time.
    """
    tiers = list(TIERS)
    # (1)
    upto = tiers[: retries + 1]
    # (2)
    return next((each for each in reversed(upto) if TIERS[each] < left_ms), None)


class Retries:
    """The outcomes' `again`.

    Deadlines count from the first append, and a record that was put off is a request like any other
    when its time has come.
    """

    def __init__(self, settings: Settings, clock: BrokerClock, writer: Writer) -> None:
        self._namespace = settings.namespace
        self._most = settings.limits.retries
        self._timeout_ms = settings.timing.request_timeout_ms
        self._clock = clock
        self._writer = writer
        self.budget = Budget(settings.limits.retry_share)
        self.count = 0
        """How many were put off after a failure."""
        self.overflows = 0
        """How often one was put off because the line was long."""

    def __call__(self, request: Incoming, error: RequestError, end: End) -> None:
        """Put the request off, or end it.

        (1) The failure says something of the request: it ends so.
        (2) A caller waits for it, who is told when to ask again; so this does not stand for its id.
        (3) It was tried often enough, it has no time for another try, or too many are tried again
            already: it ends with its failure if it had one try, else as `retries_spent`.
        (4) Put off.
        """
        # (1)
        if not is_transient(error.code):
            end(error)
            return
        # (2)
        if is_awaited(request.record.headers):
            wait_ms = AGAIN_MS if error.retry_after_ms is None else error.retry_after_ms
            code, message = error.code, error.message
            end(RequestError(code, message, retry_after_ms=wait_ms, request_id=error.request_id))
            return
        # (3)
        tier = tier_for(request.retries, self.left_ms(request))
        last = error if not request.retries else _spent(request.retries + 1, error)
        if request.retries >= self._most or tier is None or not self.budget.spend():
            end(last)
            return
        # (4)
        self.count += 1
        to = tier.full(self._namespace), request.record.partition
        self._writer.hand_on(request, to, request.to_hand_on(retries=1), lambda: end(last))

    def overflow(self, request: Incoming, wait_s: float) -> bool:
        """Put off a request of a model that holds its share of a partition; False: it is to wait.

        (1) For the longest delay that is over before its turn, and before its deadline.
        (2) It counts as no try, and is told nothing until it is read again.
        """
        # (1)
        most_ms = min(wait_s * 1000, self.left_ms(request) - 1)
        tier = next((each for each in reversed(TIERS) if TIERS[each] <= most_ms), None)
        if tier is None:
            return False
        # (2)
        self.overflows += 1
        error = RequestError(Code.BUSY, "too much waits for the model", retry_after_ms=TIERS[tier])
        self.put_off(request, tier, error)
        return True

    def put_off(self, request: Incoming, tier: Topic, error: RequestError) -> None:
        """Have it read again after this delay, which is no try; where that is gone it ends so."""
        to = tier.full(self._namespace), request.record.partition
        self._writer.hand_on(
            request,
            to,
            request.to_hand_on(),
            lambda: self._writer.failed(request, ("", ""), error, Timings(), 1 + request.retries),
        )

    def left_ms(self, request: Incoming) -> float:
        """How much time it has left until its deadline; infinite while nobody knows the time."""
        record, timeout_ms = request.record, request.head.timeout_ms
        now_ms = self._clock.now_ms((record.topic, record.partition))
        timeout_ms = self._timeout_ms if timeout_ms is None else timeout_ms
        return inf if now_ms == -inf else request.asked_ms + timeout_ms - now_ms


def _spent(tries: int, error: RequestError) -> RequestError:
    message = f"failed in each of {tries} tries; the last: {error.message}"
    return RequestError(Code.RETRIES_SPENT, message, request_id=error.request_id)
