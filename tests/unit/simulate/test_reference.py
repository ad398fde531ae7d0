"""Those we are compared with load what they must, and who knows the future never loads more."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modelmora.simulate import belady, first_in_first_out, in_turn

SIZES = dict.fromkeys("abcdef", 10)


def test_a_stream_by_hand() -> None:
    stream = "abcabc"
    assert first_in_first_out(stream, SIZES, 20) == 6
    assert in_turn(stream, SIZES, 20) == 4
    assert belady(stream, SIZES, 20, 1) == 4
    assert belady(stream, SIZES, 20, 6) == 3


def test_a_large_model_sends_several_away() -> None:
    sizes = {"a": 10, "b": 10, "c": 20}
    assert first_in_first_out("abcab", sizes, 20) == 5
    assert in_turn("abcab", sizes, 30) == 4
    assert in_turn("abcab", sizes, 40) == 3


@given(st.text("abcdef", max_size=60), st.integers(1, 6), st.integers(1, 20))
def test_who_knows_the_future_loads_least(stream: str, places: int, ahead: int) -> None:
    room = places * 10
    best = in_turn(stream, SIZES, room)
    assert len(set(stream)) <= best <= first_in_first_out(stream, SIZES, room)
    assert len(set(stream)) <= belady(stream, SIZES, room, ahead) <= best
