"""How far two texts are apart: the numbers of the plain table, found faster."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmora.comparing import texts
from modelmora.comparing.texts import distance, similarity


def by_table(one: str, other: str) -> int:
    """Levenshtein's distance as it is defined (Wagner and Fischer, 1974)."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        above, row = row, [i]
        for j, b in enumerate(other, 1):
            row.append(min(row[-1] + 1, above[j] + 1, above[j - 1] + (a != b)))
    return row[-1]


@pytest.mark.parametrize(
    ("one", "other", "edits"),
    [
        ("", "", 0),
        ("a", "", 1),
        ("", "abc", 3),
        ("kitten", "sitting", 3),
        ("flaw", "lawn", 2),
        ("the same", "the same", 0),
        ("aaaa", "aa", 2),
        ("naïve 🙂", "naive 🙃", 2),
    ],
)
def test_edits_are_counted(one: str, other: str, edits: int) -> None:
    assert distance(one, other) == distance(other, one) == edits


@given(st.text("abc", max_size=90), st.text("abc", max_size=90))
def test_it_is_the_distance_of_the_table(one: str, other: str) -> None:
    assert distance(one, other) == by_table(one, other)


def test_of_texts_that_are_very_long_the_rest_counts_as_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(texts, "MOST", 4)
    # Equal for three, of the next four three are changed, and three are left.
    assert distance("==abcdefZ", "==aXYZefgQ") == 3 + 3
    assert distance("a" * 100, "b" * 3) == 100


def test_similarity_is_a_share_of_the_longer_text() -> None:
    assert similarity("", "") == 1
    assert similarity("abcd", "abcd") == 1
    assert similarity("abcd", "") == 0
    assert similarity("abcd", "abxx") == 0.5


def test_whole_answers_are_compared_in_no_time() -> None:
    one, other = "wörter und mehr " * 500, "mehr wörter und " * 500
    assert 0 < distance(one, other) <= 20
