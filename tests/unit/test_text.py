"""Words for people."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies

from modelmora.text import counted, did_you_mean, duration, nearest, printable, shorten, size


@given(strategies.text() | strategies.binary())
def test_nothing_that_steers_a_terminal_is_left(text: str | bytes) -> None:
    told = printable(text)
    assert told.isprintable()
    told.encode()


def test_ordinary_text_stays_as_it_is() -> None:
    assert printable("Größe 大 🙂 [x]") == "Größe 大 🙂 [x]"
    assert printable(b"caf\xc3\xa9 \xff\n") == "café \\xff\\n"
    assert printable("a\x1b[31m\u202eb\udc80") == "a\\x1b[31m\\u202eb\\udc80"


@pytest.mark.parametrize(
    ("count", "told"),
    [(0, "0 B"), (999, "999 B"), (1_500, "1.5 kB"), (34e6, "34 MB"), (2e9, "2.0 GB")],
)
def test_sizes(count: float, told: str) -> None:
    assert size(count) == told


@pytest.mark.parametrize(
    ("ms", "told"),
    [
        (0.25, "0.2 ms"),
        (12, "12 ms"),
        (1500, "1.5 s"),
        (45_000, "45 s"),
        (186_490, "3 min 6 s"),
        (300_000, "5 min"),
        (36e5, "60 min"),
        (612e4, "1 h 42 min"),
        (864e5, "24 h"),
        (6048e5, "7 d"),
    ],
)
def test_durations(ms: float, told: str) -> None:
    assert duration(ms) == told


def test_counts() -> None:
    assert counted(1, "node") == "1 node"
    assert counted(2, "reply", "replies") == "2 replies"


def test_the_nearest_name() -> None:
    known = ("http_port", "grpc_port", "namespace")
    assert nearest("HTPP-PORT", known) == "http_port"
    assert nearest("unlike", known) is None
    assert did_you_mean("namespce", known) == "; did you mean namespace?"
    assert not did_you_mean("x", known)


def test_cuts_are_shown() -> None:
    assert shorten("abcdef", 4) == "abc…"
    assert shorten("abcd", 4) == "abcd"
