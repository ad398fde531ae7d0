"""One model holds a quarter of a partition; what comes then is put off where its turn is far."""

from __future__ import annotations

from modelmora.serving import Incoming
from modelmora.serving.shares import Shares
from modelmora.testing.fakes import FakeRecord, incoming
from tests.unit.serving.rig import Hall

LANE = "modelmora.requests.normal"
PARTITION = (LANE, 0)


def come(number: int, model: str = "echo", partition: int = 0) -> Incoming:
    record = FakeRecord(LANE, partition, number, value=b"x" * 10)
    return incoming(f"r{number}", model, record=record)


class Away:
    """Takes what it is asked to, and notes it."""

    def __init__(self, *, takes: bool = True) -> None:
        self.takes = takes
        self.asked: list[tuple[str, float]] = []

    def __call__(self, request: Incoming, wait_s: float) -> bool:
        self.asked.append((request.head.request_id, wait_s))
        return self.takes


async def test_beyond_its_share_a_model_s_requests_are_offered_elsewhere() -> None:
    hall, away = Hall(shares=Shares(requests=8)), Away()
    hall.service.overflow = away
    for number in range(3):
        hall.service.accept(come(number))
    hall.service.accept(come(3, "sleep"))
    hall.service.accept(come(4, partition=1))
    assert away.asked == [("r2", 0.0)], "others, and on other partitions, are not concerned"
    hall.workers.loaded()
    hall.workers.answer()
    hall.service.accept(come(5))
    assert len(away.asked) == 1, "what is answered holds nothing any more"


async def test_what_is_not_taken_elsewhere_waits_here() -> None:
    hall, away = Hall(shares=Shares(requests=4)), Away(takes=False)
    hall.service.overflow = away
    for number in range(3):
        hall.service.accept(come(number))
    hall.workers.loaded()
    hall.workers.answer()
    assert sorted(each for what, each, _ in hall.told if what == "completed") == ["r0", "r1", "r2"]


async def test_bytes_count_too_and_what_is_dropped_or_fails_holds_nothing() -> None:
    hall, away = Hall(shares=Shares(size=40)), Away()
    hall.service.overflow = away
    hall.service.accept(come(0))
    hall.service.accept(come(1))
    assert [each for each, _ in away.asked] == ["r1"]
    hall.service.drop({PARTITION}, started=True)
    hall.service.accept(come(2))
    hall.service.cancel("r2")
    hall.service.accept(come(3))
    assert [each for each, _ in away.asked] == ["r1"]


async def test_how_long_it_would_wait_is_told_with_it() -> None:
    hall, away = Hall(shares=Shares(requests=4)), Away(takes=False)
    hall.service.overflow = away
    hall.service.accept(come(0))
    hall.workers.loaded()
    hall.time.now += 50
    hall.workers.answer()
    for number in range(1, 4):
        hall.service.accept(come(number))
    assert away.asked[-1][1] > 0
