"""A reader of chunks prints each text once, says where it is torn, and whether it is whole."""

from __future__ import annotations

import pytest

from modelmora.cli.ask.streaming import Shown
from modelmora.messages import ProgressEvent, ProgressStage


def chunk(sequence: int, text: str, attempt: int = 1) -> ProgressEvent:
    return ProgressEvent(
        "r", ProgressStage.CHUNK, "m@1", chunk=text.encode(), attempt=attempt, sequence=sequence
    )


@pytest.mark.parametrize(
    ("chunks", "printed", "has_all", "said"),
    [
        ([chunk(0, "ab"), chunk(1, "c\n")], "abc\n", ["abc\n"], ""),
        ([chunk(0, "ab"), chunk(1, "c", 2)], "abc\n", ["abc"], ""),
        ([chunk(0, "ab"), chunk(0, "xy", 2)], "ab\nxy\n", ["xy"], "begins anew"),
        ([chunk(0, "ab"), chunk(2, "d"), chunk(3, "e")], "abde\n", None, "a part is missing"),
        ([chunk(1, "b"), chunk(0, "abc")], "b\nabc\n", ["abc"], "a part is missing"),
        ([ProgressEvent("r", ProgressStage.STARTED, "m@1")], "", None, ""),
        ([ProgressEvent("r", ProgressStage.CHUNK, "m@1", step=3, steps=9)], "", None, "3 of 9"),
    ],
)
def test_what_is_shown(
    chunks: list[ProgressEvent],
    printed: str,
    has_all: list[str] | None,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    written: list[str] = []
    shown = Shown(written.append)
    for each in chunks:
        shown.take(each)
    shown.end()
    assert "".join(written) == printed
    for outputs in (has_all or ["abc"], ["another"]):
        assert shown.has_all(outputs) is (outputs == has_all)
    assert said in capsys.readouterr().err
