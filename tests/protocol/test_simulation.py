"""The real code under thousands of schedules of faults; without a mend one of them shows why."""

from __future__ import annotations

import pytest

from tests.protocol.mutations import MUTATIONS
from tests.protocol.search import search, shrunk

FEW, MANY = 200, 20_000
FOUND_WITHIN = 5_000


def test_no_schedule_breaks_a_promise() -> None:
    found = search(range(FEW))
    assert found is None, found


@pytest.mark.faults
def test_no_schedule_of_many_breaks_a_promise() -> None:
    found = search(range(FEW, MANY))
    assert found is None, found


@pytest.mark.parametrize(
    "mutation", ["without_acknowledgement", "out_of_order", "of_any_epoch", "blind_to_cuts"]
)
def test_a_fault_that_was_mended_is_found_again(mutation: str) -> None:
    with MUTATIONS[mutation]():
        found = search(range(FOUND_WITHIN))
    assert found
    assert len(found.steps) < 20, found


@pytest.mark.faults
@pytest.mark.parametrize("mutation", [*MUTATIONS])
def test_every_fault_that_was_mended_is_found_again(mutation: str) -> None:
    with MUTATIONS[mutation]():
        assert search(range(MANY))


def test_what_fails_is_cut_down_to_what_it_takes() -> None:
    assert shrunk([*range(100)], lambda few: {7, 50, 51} <= {*few}) == [7, 50, 51]
