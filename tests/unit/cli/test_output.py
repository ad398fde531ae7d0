"""Tables and units."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from modelmora.cli import output
from modelmora.cli.output import clock, duration, iso, print_json, print_table, shorten, size


def test_away_from_a_terminal_a_table_is_plain_and_never_cut(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table(("A", "COUNT"), [("x" * 200, 5), ("[red]y[/red]", None)], right=("COUNT",))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "x" * 200 + "      5"
    assert lines[2].startswith("[red]y[/red] ")
    assert lines[2].endswith("    -")


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80, highlight=False)
    monkeypatch.setattr(output, "data", lambda: console)
    print_table(("A", "B"), [("x" * 100, "FAILED"), ("[bold]", "ok")])
    return stream.getvalue()


def test_on_a_terminal_it_is_folded_and_coloured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    shown = on_terminal(monkeypatch)
    assert "\x1b[31mFAILED" in shown
    assert "[bold]" in shown


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    shown = on_terminal(monkeypatch)
    assert "\x1b[31m" not in shown
    assert all(len(re.sub(r"\x1b\[\d+m", "", line)) <= 80 for line in shown.splitlines())


@pytest.mark.parametrize(
    ("count", "told"),
    [(None, None), (0, "0 B"), (999, "999 B"), (1_500, "1.5 kB"), (34e6, "34 MB"), (2e9, "2.0 GB")],
)
def test_sizes(count: float | None, told: str | None) -> None:
    assert size(count) == told


@pytest.mark.parametrize(
    ("ms", "told"),
    [
        (0.25, "0.2 ms"),
        (12, "12 ms"),
        (1500, "1.5 s"),
        (300_000, "5 min"),
        (36e5, "1 h"),
        (864e5, "24 h"),
        (6048e5, "7 d"),
    ],
)
def test_durations(ms: float, told: str) -> None:
    assert duration(ms) == told


def test_times_are_local_and_exact() -> None:
    assert clock(1_700_000_000_123).endswith(".123")
    assert iso(1_700_000_000_123).startswith("2023-11-1")


def test_json_lines_and_documents(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": 1}, line=True)
    print_json({"a": 1})
    assert capsys.readouterr().out == '{"a":1}\n{\n  "a": 1\n}\n'


def test_shortening_shows_the_cut() -> None:
    assert shorten("abc", 3) == "abc"
    assert shorten("abcd", 3) == "ab…"
