"""The lease: no outcome is handed over, or written, when another node may own the partition."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modelmora.agents.partitions.lease import Lease


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_there_is_none_before_the_group_has_confirmed_anything() -> None:
    assert not Lease(10, Clock()).holds()


def test_it_runs_from_the_moment_of_asking_and_not_from_that_of_the_answer() -> None:
    clock = Clock()
    lease = Lease(10, clock)
    clock.now += 4
    lease.confirmed(asked_at=1000.0)
    assert lease.holds()
    clock.now += 1
    assert not lease.holds()


def test_a_process_that_was_frozen_has_none_until_it_is_confirmed_anew() -> None:
    clock = Clock()
    lease = Lease(10, clock)
    lease.confirmed(clock.now)
    clock.now += 32
    assert not lease.holds()
    lease.confirmed(clock.now)
    assert lease.holds()


def test_it_is_renewed_long_before_it_ends_and_an_old_answer_does_not_shorten_it() -> None:
    clock = Clock()
    lease = Lease(8, clock)
    lease.confirmed(clock.now)
    assert not lease.is_due
    clock.now += 2
    assert lease.is_due
    assert lease.holds()
    lease.confirmed(clock.now)
    lease.confirmed(1000.0)
    assert not lease.is_due


def test_it_is_gone_when_the_group_has_lost_us() -> None:
    clock = Clock()
    lease = Lease(8, clock)
    lease.confirmed(clock.now)
    lease.lapse()
    assert not lease.holds()


@given(st.floats(1, 120), st.floats(0, 200))
def test_what_is_handed_over_is_written_within_the_session_or_not_at_all(
    session_s: float, later: float
) -> None:
    clock = Clock()
    lease = Lease(session_s, clock)
    lease.confirmed(clock.now)
    clock.now += later
    if lease.holds():
        assert later + lease.write_s <= session_s
