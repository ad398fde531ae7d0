"""Which dead letters are meant, by name or by what they are, and what a replay makes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict

from modelmora.deadletters.letters import (
    LISTED,
    DeadLetter,
    Letters,
    Survey,
    Wanted,
    none_of,
    place_of,
)
from modelmora.deadletters.replays import Rerun, plan
from modelmora.errors import NotFound
from modelmora.text import counted, printable, shorten

May = Callable[[DeadLetter], bool]
MOST_WORDS = 300


def anything(_letter: DeadLetter) -> bool:
    """Every letter may be meant: a `May`."""
    return True


def words_of(which: Sequence[str], wanted: Wanted) -> str:
    """What was named, in words."""
    named = [*which, *(f"{k}={v}" for k, v in asdict(wanted).items() if v is not None)]
    return shorten(printable(" ".join(named)), MOST_WORDS) or "all"


def meant(letters: Letters, which: Sequence[str], wanted: Wanted, may: May = anything) -> Survey:
    """The letters that are named by ids or places, or else all that are wanted.

    Those that may not be meant are as if they were not there. Raises NotFound for a name that
    means none.
    """
    means = [letters.matches(each) for each in which]

    def takes(letter: DeadLetter) -> bool:
        named = any(each(letter) for each in means) if means else wanted.takes(letter)
        return named and may(letter)

    survey = letters.survey(takes, wanted.since)
    for name, fits in zip(which, means, strict=True):
        if not any(map(fits, survey.letters)):
            raise none_of(name)
    return survey


def planned(
    letters: Letters,
    lanes: Sequence[str],
    which: Sequence[str],
    wanted: Wanted,
    *,
    again: bool,
    may: May = anything,
) -> tuple[list[Rerun], int]:
    """What is to be done with the letters named, or with all that are wanted.

    The number is of those that are left out because they were replayed before. Raises NotFound
    where there are none.

    (1) By its place any letter may be meant; of an id it is that of its highest run.
    (2) Of all that are wanted those that were not replayed, or else as of an id.
    """
    survey = meant(letters, which, wanted, may)
    found = sorted(survey.letters, key=lambda letter: letter.time)
    # (2)
    if not which and not again:
        chosen = [letter for letter in found if not letter.replay]
        left = len(found) - len(chosen)
    # (1)
    else:
        placed = [letters.matches(each) for each in which if place_of(each, "")]
        highest: Counter[str] = Counter()
        for letter in found:
            highest[letter.request_id] = max(highest[letter.request_id], letter.run)
        chosen = [
            letter
            for letter in found
            if letter.run == highest[letter.request_id]
            or not letter.request_id
            or any(means(letter) for means in placed)
        ]
        left = 0
    if not chosen:
        before = f"; {counted(left, 'letter')} replayed before, `again` takes them" if left else ""
        raise NotFound(f"there are no dead letters to replay{before}; {LISTED}")
    return plan(chosen, survey.runs, lanes, again=again), left
