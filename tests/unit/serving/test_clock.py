"""The broker's clock: what it shows, and whom a false timestamp harms, for how long."""

from __future__ import annotations

import math
from collections.abc import Hashable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmora.serving import BrokerClock
from modelmora.testing.fakes import UNIX_MS, FakeTime

A, B = ("lane", 0), ("lane", 1)
R, S = ("results", 0), ("results", 1)
HOUR_MS = 3_600_000
pytestmark = pytest.mark.row("F15")


def test_before_the_first_timestamp_nothing_is_ever_due() -> None:
    clock = BrokerClock(FakeTime())
    assert clock.now_ms() == clock.now_ms(A) == -math.inf
    assert clock.monotonic_at(UNIX_MS, A) == math.inf


def test_it_goes_on_with_our_monotonic_clock() -> None:
    time = FakeTime()
    clock = BrokerClock(time)
    clock.heard(UNIX_MS, A)
    time.now += 1.5
    assert clock.now_ms(A) == UNIX_MS + 1500
    assert clock.monotonic_at(UNIX_MS + 2000, A) == time.now + 0.5


def test_an_old_record_does_not_put_it_back() -> None:
    clock = BrokerClock(FakeTime())
    clock.heard(UNIX_MS, A)
    clock.heard(UNIX_MS - HOUR_MS, A)
    assert clock.now_ms(A) == UNIX_MS


def test_what_waited_for_an_hour_is_late_although_its_partition_knows_no_better() -> None:
    clock = BrokerClock(FakeTime())
    clock.acknowledged(UNIX_MS, R)
    clock.heard(UNIX_MS - HOUR_MS, A)
    assert clock.now_ms(A) == clock.now_ms(B) == UNIX_MS


def test_a_timestamp_ahead_expires_nothing_elsewhere() -> None:
    clock = BrokerClock(FakeTime())
    clock.acknowledged(UNIX_MS, R)
    clock.heard(UNIX_MS + HOUR_MS, A)
    clock.acknowledged(UNIX_MS + HOUR_MS, S)
    clock.heard(UNIX_MS, B)
    assert clock.now_ms(B) == clock.now_ms() == UNIX_MS


def test_a_timestamp_ahead_harms_its_own_partition_for_a_minute() -> None:
    time = FakeTime()
    clock = BrokerClock(time)
    clock.heard(UNIX_MS + HOUR_MS, A)
    for second in range(1, 61):
        time.now += 1
        clock.heard(UNIX_MS + second * 1000, A)
    assert clock.now_ms(A) == UNIX_MS + 60_000


def test_all_writes_ahead_heal_too() -> None:
    time = FakeTime()
    clock = BrokerClock(time)
    clock.acknowledged(UNIX_MS + HOUR_MS, R)
    for seconds in (31, 62):
        time.now += 31
        clock.acknowledged(UNIX_MS + seconds * 1000, R)
    assert clock.now_ms(A) == UNIX_MS + 62_000


def test_a_long_silence_is_bridged_until_something_newer_is_heard() -> None:
    time = FakeTime()
    clock = BrokerClock(time)
    clock.acknowledged(UNIX_MS, R)
    clock.heard(UNIX_MS, A)
    time.now += 3600
    assert clock.now_ms(A) == clock.now_ms(B) == UNIX_MS + HOUR_MS
    clock.heard(UNIX_MS, B)
    assert clock.now_ms(B) == UNIX_MS + HOUR_MS


def test_a_record_with_an_earlier_time_puts_its_partition_right_at_once() -> None:
    clock = BrokerClock(FakeTime())
    clock.heard(UNIX_MS + HOUR_MS, A, 7)
    clock.heard(UNIX_MS, A, 8)
    assert clock.now_ms(A) == UNIX_MS
    clock.acknowledged(UNIX_MS + HOUR_MS, R, 3)
    clock.acknowledged(UNIX_MS, R, 4)
    assert clock.now_ms(A) == clock.now_ms() == UNIX_MS


def test_what_is_read_again_puts_nothing_back() -> None:
    clock = BrokerClock(FakeTime())
    clock.heard(UNIX_MS, A, 7)
    clock.heard(UNIX_MS - HOUR_MS, A, 6)
    assert clock.now_ms(A) == UNIX_MS


def test_a_broker_that_is_ahead_for_good_ends_no_requests_of_another() -> None:
    """Whose partitions may have had no write, or only some that were long ago."""
    leaders: dict[Hashable, int] = {A: 1, R: 1, B: 2, S: 2}
    clock = BrokerClock(FakeTime(), leaders.__getitem__)
    clock.acknowledged(UNIX_MS + HOUR_MS, S)
    clock.heard(UNIX_MS, A)
    assert clock.now_ms(A) == UNIX_MS, "the only one that has acknowledged anything"
    assert clock.now_ms(B) == UNIX_MS + HOUR_MS
    clock.acknowledged(UNIX_MS, R)
    assert (clock.now_ms(A), clock.now_ms(B)) == (UNIX_MS, UNIX_MS + HOUR_MS)
    assert clock.now_ms() == UNIX_MS


def test_a_broker_that_is_behind_for_good_keeps_no_late_requests_of_another_alive() -> None:
    leaders: dict[Hashable, int] = {A: 1, R: 1, B: 2, S: 2}
    clock = BrokerClock(FakeTime(), leaders.__getitem__)
    clock.acknowledged(UNIX_MS - HOUR_MS, S)
    clock.acknowledged(UNIX_MS, R)
    clock.heard(UNIX_MS - HOUR_MS, A)
    assert clock.now_ms(A) == UNIX_MS


def test_where_two_brokers_agree_a_third_is_believed_to_be_no_later() -> None:
    leaders: dict[Hashable, int] = {("lane", 2): 3, R: 1, S: 2}
    clock = BrokerClock(FakeTime(), leaders.__getitem__)
    clock.acknowledged(UNIX_MS, R)
    clock.acknowledged(UNIX_MS + HOUR_MS, S)
    clock.heard(UNIX_MS - HOUR_MS, ("lane", 2))
    assert clock.now_ms(("lane", 2)) == UNIX_MS


def test_a_topic_without_times_tells_none() -> None:
    clock = BrokerClock(FakeTime())
    clock.acknowledged(UNIX_MS, R, 1)
    clock.acknowledged(0, R, 2)
    assert clock.now_ms() == UNIX_MS


@given(st.lists(st.tuples(st.floats(0, 40), st.integers(1, 10**6), st.integers(0, 2))))
def test_it_shows_the_newest_of_the_last_minute(heard: list[tuple[float, int, int]]) -> None:
    """At least all of the last half minute, at most all of the last minute."""
    time = FakeTime(0.0)
    clock = BrokerClock(time)
    told: dict[int, list[tuple[float, float]]] = {}
    for elapsed, timestamp, partition in heard:
        time.now += elapsed
        clock.heard(timestamp, partition)
        ahead = told.setdefault(partition, [])
        ahead.append((time.now, timestamp - time.now * 1000))
        shown = clock.now_ms(partition) - time.now * 1000
        recent = max(each for at, each in ahead if at > time.now - 30)
        minute = max(each for at, each in ahead if at >= time.now - 60)
        assert recent - 1e-3 <= shown <= minute + 1e-3
