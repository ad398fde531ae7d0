"""What is put off after a failure, until when, how often, and what becomes of the rest."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from modelmora.agents.retries import AGAIN_MS, SPARE, Budget, Retries, tier_for
from modelmora.errors import Code, RequestError
from modelmora.kafka.topics import Topic
from modelmora.messages import Lane, Timings, is_transient
from modelmora.scheduling import ModelKey
from modelmora.serving import BrokerClock, HandedOn, Incoming
from modelmora.settings import Limits, Settings
from modelmora.testing.fakes import UNIX_MS, FakeRecord, FakeTime, incoming

LANE = "modelmora.requests.normal"
MINUTE = 60_000


class Desk:
    """Retries, and where they write."""

    def __init__(self, **limits: float) -> None:
        settings = Settings(limits=Limits.model_validate(limits))
        self.clock = BrokerClock(FakeTime())
        self.clock.heard(UNIX_MS, (LANE, 3))
        self.retries = Retries(settings, self.clock, self)
        self.written: list[tuple[tuple[str, int], HandedOn]] = []
        self.otherwise: list[Callable[[], None]] = []
        self.ended: list[RequestError] = []

    def hand_on(
        self,
        request: Incoming,
        to: tuple[str, int],
        told: HandedOn,
        otherwise: Callable[[], None],
    ) -> None:
        self.written.append((to, told))
        self.otherwise.append(otherwise)

    def failed(
        self,
        request: Incoming,
        model: ModelKey,
        error: RequestError,
        timings: Timings,
        attempt: int,
    ) -> None:
        self.ended.append(error)

    def fail(self, request: Incoming, code: Code = Code.MODEL_UNAVAILABLE) -> None:
        self.retries(request, RequestError(code, "not now"), self.ended.append)

    @property
    def codes(self) -> list[Code]:
        return [each.code for each in self.ended]


def came(retries: int = 0, timeout_ms: int | None = None, **headers: bytes) -> Incoming:
    told = [(name.replace("_", "-"), value) for name, value in headers.items()]
    record = FakeRecord(LANE, 3, 42, headers=told)
    request = incoming(record=record, lane=Lane.NORMAL, timeout_ms=timeout_ms)
    if retries:
        request.handed_on = HandedOn(0, 5, 7, UNIX_MS, LANE, retries)
    return request


@pytest.mark.parametrize("code", list(Code))
def test_only_what_is_no_fault_of_the_request_is_put_off(code: Code) -> None:
    desk = Desk()
    desk.fail(came(), code)
    assert (bool(desk.written), desk.codes) == (is_transient(code), [] if desk.written else [code])


def test_it_goes_to_its_own_partition_and_says_where_it_comes_from() -> None:
    desk = Desk()
    desk.fail(came())
    desk.fail(came(1))
    assert desk.written == [
        (("modelmora.retry.30s", 3), HandedOn(0, 3, 42, UNIX_MS, LANE, 1)),
        (("modelmora.retry.5m", 3), HandedOn(0, 5, 7, UNIX_MS, LANE, 2)),
    ]
    assert desk.retries.count == 2


def test_after_the_last_try_it_has_failed_and_the_last_failure_is_told() -> None:
    desk = Desk()
    desk.fail(came(2), Code.STORE_UNAVAILABLE)
    (error,) = desk.ended
    assert (error.code, error.message) == (
        Code.RETRIES_SPENT,
        "failed in each of 3 tries; the last: not now",
    )
    never = Desk(retries=0)
    never.fail(came())
    assert never.codes == [Code.MODEL_UNAVAILABLE]


def test_who_waits_at_a_gateway_is_told_at_once_and_a_job_is_put_off() -> None:
    desk = Desk()
    desk.fail(came(modelmora_gateway=b"g"), Code.STORE_UNAVAILABLE)
    told = RequestError(Code.RETRIES_SPENT, "not now", retry_after_ms=7)
    desk.retries(came(modelmora_gateway=b"g"), told, desk.ended.append)
    assert [(each.code, each.retry_after_ms) for each in desk.ended] == [
        (Code.STORE_UNAVAILABLE, AGAIN_MS),
        (Code.RETRIES_SPENT, 7),
    ]
    job = came(modelmora_gateway=b"g", modelmora_job=b"1")
    job.job = True
    desk.fail(job)
    desk.fail(came(modelmora_gateway=b"g", modelmora_run=b"2"))  # a replay
    assert len(desk.written) == 2


@pytest.mark.parametrize(
    ("retries", "left_ms", "tier"),
    [
        (0, MINUTE, Topic.RETRY_SOON),
        (0, 30_000, None),
        (1, 10 * MINUTE, Topic.RETRY_LATER),
        (1, 5 * MINUTE, Topic.RETRY_SOON),
        (7, 10 * MINUTE, Topic.RETRY_LATER),
        (7, 0, None),
        (0, float("inf"), Topic.RETRY_SOON),
    ],
)
def test_each_delay_is_longer_and_ends_before_the_deadline(
    retries: int, left_ms: float, tier: Topic | None
) -> None:
    assert tier_for(retries, left_ms) is tier


def test_the_deadline_counts_from_the_first_append() -> None:
    desk = Desk()
    desk.fail(came(timeout_ms=30_001))
    desk.fail(came(timeout_ms=30_000))
    late = came(1, timeout_ms=MINUTE)
    desk.clock.acknowledged(UNIX_MS + 40_000, "elsewhere")
    desk.fail(late)
    assert (len(desk.written), desk.codes) == (1, [Code.MODEL_UNAVAILABLE, Code.RETRIES_SPENT])


def test_where_the_topic_does_not_take_it_it_ends_with_its_failure() -> None:
    desk = Desk()
    desk.fail(came())
    desk.otherwise[0]()
    desk.fail(came(1))
    desk.otherwise[1]()
    assert desk.codes == [Code.MODEL_UNAVAILABLE, Code.RETRIES_SPENT]


def test_further_tries_are_a_share_of_the_first_and_a_few_more() -> None:
    budget, spent = Budget(0.2), 0
    for _ in range(1000):
        budget.earn()
        spent += budget.spend()
    assert spent == pytest.approx(1000 * 0.2 + SPARE, abs=1)
    assert not budget.spend()
    idle = Budget(0.2)
    for _ in range(100_000):
        idle.earn()
    assert sum(idle.spend() for _ in range(10_000)) == 100 * SPARE


def test_beyond_the_budget_requests_end_with_their_failure() -> None:
    desk = Desk(retry_share=0)
    for _ in range(12):
        desk.fail(came())
    assert (len(desk.written), desk.codes) == (10, [Code.MODEL_UNAVAILABLE] * 2)


@pytest.mark.parametrize(
    ("wait_s", "timeout_ms", "topic"),
    [
        (29.0, None, None),
        (30.0, None, "modelmora.retry.30s"),
        (299.0, None, "modelmora.retry.30s"),
        (300.0, None, "modelmora.retry.5m"),
        (300.0, 2 * MINUTE, "modelmora.retry.30s"),
        (300.0, 30_000, None),
        (0.0, None, None),
    ],
)
def test_a_long_line_is_put_off_for_no_longer_than_it_takes(
    wait_s: float, timeout_ms: int | None, topic: str | None
) -> None:
    desk = Desk()
    assert desk.retries.overflow(came(1, timeout_ms), wait_s) is bool(topic)
    assert desk.written == ([((topic, 3), HandedOn(0, 5, 7, UNIX_MS, LANE, 1))] if topic else [])
    for otherwise in desk.otherwise:
        otherwise()
        assert desk.codes == [Code.BUSY]
