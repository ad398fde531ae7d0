"""What waits to be written is bounded where it may be: by number and by bytes, the oldest goes."""

from __future__ import annotations

import pytest

from modelmora.kafka.writing import outbox
from modelmora.kafka.writing.outbox import Answer, Dropped, Outbox, Record


class Idle(Outbox):
    """Nothing is ever handed over."""

    def wake(self) -> None:
        return None


@pytest.mark.parametrize("size", [1, 1000])
def test_the_oldest_progress_makes_room_and_nothing_else_does(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "BOUND_BYTES", 20_000)
    dropped: list[int] = []
    held = Idle(None, {"progress": 100})

    def send(topic: str, number: int, size: int) -> None:
        def done(answer: Answer) -> None:
            assert answer == Dropped()
            dropped.append(number)

        held.send(Record(topic, None, bytes(size), done))

    send("events", -1, 10_000)
    for number in range(200):
        send("progress", number, size)
    kept = 100 if size == 1 else 10
    assert dropped == list(range(200 - kept))
    assert held.backlog == kept + 1
    send("progress", 200, 50_000)
    assert dropped[-1] == 199, "one is always left, however large"
