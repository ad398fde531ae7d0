"""The model of the delivery protocol holds, and without any of its mends it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelmora.broker.jars import JarsUnavailable
from tests.protocol.tlc import Checked, check

MENDS = ("LeaseHeld", "LookedBack", "Acknowledged", "InOrder", "EpochsApart", "CutSeen")
INVARIANTS = ["NoneContradicts", "NoneSilent", "NonePassed", "NoneRepeated"]
MOVED = {"Requests": 2, "Longest": 2, "Faults": 1, "Cuts": 0}
"""Nodes die, freeze and change, and the broker keeps what it has."""
LOST = {"Requests": 2, "Longest": 2, "Faults": 0, "Cuts": 1}
"""The broker loses the end of its log."""


def held(folder: Path, size: dict[str, int], without: str = "") -> Checked:
    """What TLC finds where one mend is taken out."""
    mends = {mend: mend != without for mend in MENDS}
    try:
        return check(folder, {"Nodes": "{n1, n2}", **size, **mends}, INVARIANTS)
    except JarsUnavailable as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("size", [MOVED, LOST], ids=["moved", "lost"])
def test_the_protocol_holds(tmp_path: Path, size: dict[str, int]) -> None:
    found = held(tmp_path, size)
    assert found.violated == "", found.said
    assert found.states > 10_000


@pytest.mark.parametrize(
    ("mend", "size", "violated"),
    [
        ("LeaseHeld", MOVED, {"NoneContradicts"}),
        ("LookedBack", MOVED, {"NoneContradicts"}),
        ("Acknowledged", MOVED, {"NonePassed", "NoneSilent"}),
        ("InOrder", MOVED, {"NonePassed"}),
        ("EpochsApart", LOST, {"NonePassed", "NoneSilent"}),
        ("CutSeen", LOST, {"NonePassed", "NoneSilent"}),
    ],
)
def test_without_a_mend_its_fault_is_found(
    tmp_path: Path, mend: str, size: dict[str, int], violated: set[str]
) -> None:
    assert held(tmp_path, size, without=mend).violated in violated
