"""What no gateway has charged: who pays, who waits in memory, who is put off, who is given back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from modelmora.access.budgets import Buckets
from modelmora.access.signing import Signer, Verifier
from modelmora.agents import toll
from modelmora.agents.toll import MOST_S, Toll
from modelmora.errors import Code, RequestError
from modelmora.kafka.topics import Topic
from modelmora.messages import (
    ErrorInfo,
    InferenceRequest,
    Lane,
    ResultHead,
    Source,
    Status,
    Timings,
    outcome_status,
)
from modelmora.messages.headers import GATEWAY, PRINCIPAL, RUN
from modelmora.serving import Incoming
from modelmora.settings import AccessSettings
from modelmora.testing.fakes import FakeRecord, FakeTime, incoming
from modelmora.wire import decode_request_head, encode_outputs, encode_request
from tests.unit.objects.stores import until

SECRET = b"s" * 32
SLOW = {"requests": {"amount": 60, "burst": 2}}
"""One a second."""


class Gate:
    """A toll, and all that stands around it."""

    def __init__(self, verifier: Verifier | None = None, most: int = 100, **budgets: Any) -> None:
        told = AccessSettings.model_validate({"budgets": budgets})
        self.buckets = Buckets(told.budgets)
        self.time = FakeTime()
        self.left: dict[int, float] = {}
        self.known = True
        self.cancelled = False
        self.entered: list[int] = []
        self.away: list[tuple[int, Topic]] = []
        self.refused: list[RequestError] = []
        self.waiting: list[Incoming] = []
        self.telling: Callable[[], Awaitable[None]] = self._nobody
        parts = (self.buckets, self, verifier or Verifier(), self, self)
        self.toll = Toll(*parts, lambda _: "echo@1", self.time, most)
        self.toll.enter = lambda request: self.entered.append(request.record.offset)
        self._offset = 0

    async def _nobody(self) -> None:
        await asyncio.sleep(0.01)

    @property
    def counts(self) -> bool:
        return bool(self.buckets.budgets)

    async def told(self, most_s: float) -> None:
        await self.telling()

    def takes(self, request: Incoming) -> bool:
        return self.known

    def is_cancelled(self, request: Incoming) -> bool:
        return self.cancelled

    def awaits(self, request: Incoming) -> bool:
        self.waiting.append(request)
        return not request.ended

    def reclaim(self, request: Incoming) -> bool:
        self.waiting = [each for each in self.waiting if each is not request]
        return not request.ended

    def refuse(self, request: Incoming, error: RequestError) -> None:
        self.refused.append(error)

    def arm(self) -> None:
        pass

    def left_ms(self, request: Incoming) -> float:
        return self.left.get(request.record.offset, 600_000)

    def put_off(self, request: Incoming, tier: Topic, error: RequestError) -> None:
        assert error.code is Code.RATE_LIMITED
        self.away.append((request.record.offset, tier))

    def request(self, *inputs: Any, left_ms: float = 600_000, **more: Any) -> Incoming:
        self._offset += 1
        self.left[self._offset] = left_ms
        value = encode_request(InferenceRequest("r", "echo", inputs or ("x",)))
        record = FakeRecord(offset=self._offset, value=value, headers=more.pop("headers", ()))
        return incoming("r", "echo", record=record, **more)

    def ask(self, count: int = 1, **more: Any) -> list[Incoming]:
        """So many requests come; those that go on at once."""
        found = [self.request(**more) for _ in range(count)]
        return [each for each in found if not self.toll.takes(each)]

    def level(self, name: str) -> float:
        (bucket,) = (each for each in self.buckets if each.name == name)
        return bucket.left(self.time.now)


def ended(request: Incoming, code: Code | None = None, **more: Any) -> ResultHead:
    error = None if code is None else ErrorInfo(code, "so")
    status = Status.COMPLETED if code is None else outcome_status(code)
    return ResultHead("r", status, "echo", "1", Source("t", 0, 0), error=error, **more)


def test_without_budgets_all_goes_on() -> None:
    gate = Gate()
    assert len(gate.ask(5)) == 5
    assert [*gate.buckets] == []


def test_what_is_not_run_here_goes_on_and_is_not_charged() -> None:
    gate = Gate(all=SLOW)
    assert len(gate.ask(5, left_ms=0)) == 5
    gate.known = False
    assert len(gate.ask(5)) == 5
    gate.known = gate.cancelled = True
    assert len(gate.ask(5)) == 5
    assert [*gate.buckets] == []


def test_what_a_gateway_has_written_is_charged_there() -> None:
    gate = Gate(all=SLOW)
    headers = ((GATEWAY, b"g"),)
    assert len(gate.ask(9, headers=headers)) == 9
    assert [*gate.buckets] == []
    assert len(gate.ask(1, headers=(*headers, (RUN, b"2")))) == 1
    assert gate.level("all.requests") == 1


def signed(*headers: tuple[str, bytes], signer: Signer, by_gateway: bool) -> Any:
    head = decode_request_head(encode_request(InferenceRequest("r", "echo", ("x",))))
    told = (*headers, (PRINCIPAL, b"alice"))
    told = (*told, signer.request(told, head, Lane.NORMAL, "content"))
    return (*told, Signer(SECRET).of_gateway(told, "r")) if by_gateway else told


def test_where_there_is_a_secret_only_a_gateway_can_say_that_it_is_one() -> None:
    gate = Gate(Verifier([SECRET]), all={"requests": {"amount": 100}})
    own = Signer(own=("alice", b"k" * 32))
    came = (GATEWAY, b"g")
    for headers in (
        (came,),
        signed(came, signer=own, by_gateway=False),
        signed(came, signer=Signer(SECRET), by_gateway=False),
        (
            *signed(came, signer=Signer(b"t" * 32), by_gateway=False),
            Signer(b"t" * 32).of_gateway((came,), "r"),
        ),
        (*signed(came, signer=Signer(SECRET), by_gateway=True), (RUN, b"2")),
    ):
        before = sum(100 - each.left(gate.time.now) for each in gate.buckets)
        assert len(gate.ask(1, headers=headers)) == 1
        assert sum(100 - each.left(gate.time.now) for each in gate.buckets) == before + 1
    headers = signed(came, signer=Signer(SECRET), by_gateway=True)
    before = sum(each.left(gate.time.now) for each in gate.buckets)
    assert len(gate.ask(9, headers=headers)) == 9
    assert sum(each.left(gate.time.now) for each in gate.buckets) == before


async def test_whose_turn_comes_soon_waits_in_memory_in_its_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(toll, "LOOK_S", 0.001)
    gate = Gate(all=SLOW)
    assert len(gate.ask(5)) == 2
    assert (len(gate.waiting), gate.away) == (3, [])
    gate.time.now += 1.0
    await until(lambda: gate.entered == [3])
    gate.time.now += 1.5
    assert gate.ask() == []  # behind those that wait, though there is enough for one
    await until(lambda: gate.entered == [3, 4])
    gate.time.now += 2.0
    await until(lambda: gate.entered == [3, 4, 5, 6])
    assert (gate.waiting, gate.refused) == ([], [])
    assert gate.level("all.requests") == pytest.approx(0)


async def test_a_longer_line_is_put_off_for_no_longer_than_it_takes() -> None:
    gate = Gate(all=SLOW)
    assert len(gate.ask(400)) == 2
    assert len(gate.waiting) == 5
    tiers = [tier for _, tier in gate.away]
    assert {*tiers[:280]} == {Topic.RETRY_SOON}
    assert {*tiers[300:]} == {Topic.RETRY_LATER}
    assert gate.toll.count == len(tiers) == 393
    await gate.toll.stop()


async def test_another_who_has_enough_passes_them() -> None:
    gate = Gate(all=SLOW)
    gate.ask(50)
    other = gate.request()
    other.principal = "bob"
    assert not gate.toll.takes(other)
    await gate.toll.stop()


async def test_who_has_no_time_to_be_put_off_is_refused() -> None:
    gate = Gate(all={"requests": {"amount": 1}})
    assert len(gate.ask(2, left_ms=30_000)) == 1
    (error,) = gate.refused
    assert (error.code, error.retry_after_ms) == (Code.RATE_LIMITED, 60_000)
    assert "the budget all of 1 requests a minute is used up; try again in 60 s" in str(error)
    gate.ask(left_ms=30_001)
    assert gate.away == [(3, Topic.RETRY_SOON)]


async def test_that_nobody_waits_any_more_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toll, "LOOK_S", 0.001)
    gate = Gate(all=SLOW)
    with capture_logs() as logged:
        gate.ask(3)
        gate.time.now += 1.0
        await until(lambda: not any(each.get_name() == "toll" for each in asyncio.all_tasks()))
        await asyncio.sleep(0)
    assert (gate.entered, logged) == ([3], [])


async def test_no_more_than_so_many_wait_in_memory() -> None:
    gate = Gate(most=1, all=SLOW)
    gate.ask(4)
    assert (len(gate.waiting), len(gate.away)) == (1, 1)
    await gate.toll.stop()


async def test_who_has_ended_meanwhile_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toll, "LOOK_S", 0.001)
    gate = Gate(all=SLOW)
    gate.ask(4)
    gate.waiting[0].ended = True
    gate.time.now += 1.0
    await until(lambda: gate.entered == [4])
    assert gate.level("all.requests") == pytest.approx(0)


async def test_what_goes_to_another_node_is_given_up() -> None:
    gate = Gate(all=SLOW)
    (one, _) = gate.ask(2)
    gate.ask(1)
    gate.request().record.partition = 1
    dropped = gate.toll.drop({(one.record.topic, 0)})
    assert [each.offset for each in dropped] == [3]
    gate.toll.lost([one.record, *dropped])
    gate.toll.lost([one.record])
    assert gate.level("all.requests") == 1
    gate.time.now += 1
    await asyncio.sleep(0.1)
    assert gate.entered == []


async def test_whose_turn_others_use_up_is_put_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toll, "LOOK_S", 0.001)
    gate = Gate(all=SLOW)
    gate.ask(3)
    (bucket,) = gate.buckets
    gate.buckets.heard(bucket.key, 60.0, gate.time.now)
    gate.time.now += MOST_S + 1
    await until(lambda: gate.away == [(3, Topic.RETRY_SOON)])
    assert gate.entered == []


async def test_what_others_do_not_know_waits_until_they_do() -> None:
    gate = Gate(all={"requests": {"amount": 20}})
    gate.buckets.others = 1

    async def told() -> None:
        await asyncio.sleep(0.001)
        for each in gate.buckets.tell(gate.time.now):
            gate.buckets.landed(each.bucket, each.spent)

    gate.telling = told
    assert len(gate.ask(20)) == 1
    await until(lambda: gate.entered == [*range(2, 21)])
    assert (gate.away, gate.refused) == ([], [])


@pytest.mark.parametrize(
    ("code", "ran_ms", "left"),
    [
        (None, 300, (9, 1000 - 300)),
        (Code.INFERENCE_FAILED, 200, (9, 800)),
        (Code.INVALID_INPUT, 0, (9, 1000)),
        (Code.EXPIRED, 0, (9, 1000)),
        (Code.BUSY, 0, (10, 1000)),
        (Code.MODEL_UNAVAILABLE, 0, (10, 1000)),
    ],
)
def test_an_outcome_settles_what_was_charged(
    code: Code | None, ran_ms: float, left: tuple[int, int]
) -> None:
    gate = Gate(b={"requests": {"amount": 10}, "device_ms": {"amount": 1000}})
    (one,) = gate.ask()
    head = ended(one, code, timings=Timings(inference_ms=ran_ms))
    for _ in range(2):
        gate.toll.settle(one, head, encode_outputs(("x",)))
        assert (gate.level("b.requests"), gate.level("b.device_ms")) == left


def test_tokens_and_pixels_are_guessed_and_settled() -> None:
    gate = Gate(b={"tokens": {"amount": 1000}, "pixels": {"amount": 1000}})
    one = gate.request("x" * 400, parameters={"max_tokens": 50, "size": "10x20"})
    assert not gate.toll.takes(one)
    assert (gate.level("b.tokens"), gate.level("b.pixels")) == (850, 800)
    settings = {"prompt_tokens": 90, "completion_tokens": 10, "size": "10x20"}
    gate.toll.settle(one, ended(one, settings=settings), encode_outputs(("x", "y")))
    assert (gate.level("b.tokens"), gate.level("b.pixels")) == (900, 600)


def test_what_leaves_without_an_outcome_is_given_back() -> None:
    gate = Gate(all=SLOW)
    (one,) = gate.ask()
    gate.toll.settle(one, None, b"")
    assert gate.level("all.requests") == 2
