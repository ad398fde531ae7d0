"""The broker's clock: what it shows, and that it never goes back."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from modelmora.serving import BrokerClock
from modelmora.testing.fakes import UNIX_MS, FakeTime


def test_before_the_first_timestamp_nothing_is_ever_due() -> None:
    clock = BrokerClock(FakeTime())
    assert clock.now_ms() == -math.inf
    assert clock.monotonic_at(UNIX_MS) == math.inf


def test_it_goes_on_with_our_monotonic_clock() -> None:
    time = FakeTime()
    clock = BrokerClock(time)
    clock.heard(UNIX_MS)
    time.now += 1.5
    assert clock.now_ms() == UNIX_MS + 1500
    assert clock.monotonic_at(UNIX_MS + 2000) == time.now + 0.5


def test_an_old_record_does_not_put_it_back() -> None:
    clock = BrokerClock(FakeTime())
    clock.heard(UNIX_MS)
    clock.heard(UNIX_MS - 3_600_000)
    assert clock.now_ms() == UNIX_MS


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 10**6)), min_size=1))
def test_it_never_falls(heard: list[tuple[float, int]]) -> None:
    time = FakeTime(0.0)
    clock = BrokerClock(time)
    before = -math.inf
    for elapsed, timestamp in heard:
        time.now += elapsed
        clock.heard(timestamp)
        assert clock.now_ms() >= max(before, timestamp) - 1e-3
        before = clock.now_ms()
