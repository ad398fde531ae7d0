"""Text comes out as tokens come in: whole characters, and nothing of a stop string."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmora.engines.text.words import Words


def decode(ids: Sequence[int]) -> str:
    """Tokens are bytes."""
    return bytes(ids).decode("utf-8", "replace")


def spaced(ids: Sequence[int]) -> str:
    """Tokens are words, the first of a text without its space: as SentencePiece has it."""
    return " ".join(f"w{number}" for number in ids)


@pytest.mark.no_cover
@given(st.text(max_size=40))
def test_the_parts_are_the_whole_and_hold_whole_characters(text: str) -> None:
    words = Words(decode)
    parts = [words.add(byte) for byte in text.encode("utf-8", "replace")]
    assert all("\ufffd" not in part for part in parts)
    assert "".join([*parts, words.end()]) == text.encode("utf-8", "replace").decode()


@given(st.lists(st.integers(0, 99), max_size=20))
def test_spaces_between_words_stay(ids: list[int]) -> None:
    words = Words(spaced)
    assert "".join([*map(words.add, ids), words.end()]) == spaced(ids)


@given(st.binary(max_size=60))
def test_bytes_that_are_no_text_do_not_hold_up_the_rest(content: bytes) -> None:
    words = Words(decode)
    assert len("".join([*map(words.add, content), words.end()])) <= len(content)


@given(st.text("abc", max_size=30), st.lists(st.text("abc", min_size=1, max_size=4), max_size=3))
def test_a_stop_string_ends_the_text_before_it(text: str, stop: list[str]) -> None:
    words = Words(decode, stop)
    said = ""
    for byte in text.encode():
        said += words.add(byte)
        assert not any(each in said for each in stop)
        if words.stopped:
            break
    said += words.end()
    places = [place for each in stop if (place := text.find(each)) >= 0]
    assert words.stopped == bool(places)
    assert said == text[: len(said)]
    if not places:
        assert said == text


@pytest.mark.parametrize("stop", ["\n\n", "END"])
def test_what_may_become_a_stop_string_is_held_back(stop: str) -> None:
    words = Words(decode, (stop,))
    assert words.add(ord(stop[0])) == ""
    assert words.add(ord("x")) == f"{stop[0]}x"
