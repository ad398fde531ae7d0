"""Tables and units."""

from __future__ import annotations

import io
import json
import math
import sys

import pytest
from rich.console import Console

from modelmora.cli.shared import output
from modelmora.cli.shared.output import clock, print_json, print_table, say
from modelmora.text import iso


def test_away_from_a_terminal_a_table_is_plain_and_never_cut(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table(("A", "COUNT"), [("x" * 200, 5), ("[red]y[/red]", None)], right=("COUNT",))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "x" * 200 + "      5"
    assert lines[2].startswith("[red]y[/red] ")
    assert lines[2].endswith("    -")


def test_what_strangers_wrote_forges_no_row(capsys: pytest.CaptureFixture[str]) -> None:
    forged = "id\x1b[2K\nother  COMPLETED"
    print_table(("ID", "STATE"), [(forged, "FAILED")])
    say(forged)
    told = capsys.readouterr()
    assert [line.split()[-1] for line in told.out.splitlines()] == ["STATE", "FAILED"]
    assert "\x1b" not in told.out + told.err
    assert told.err.count("\n") == 1


class Gone(io.StringIO):
    """A stream whose reader has left."""

    def write(self, _text: str) -> int:
        raise BrokenPipeError


def test_that_nobody_hears_it_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Gone())
    say("hello")


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80, highlight=False)
    monkeypatch.setattr(output, "data", lambda: console)
    print_table(("A", "B"), [("x" * 100, "FAILED"), ("[bold]", "ok")])
    return stream.getvalue()


def test_on_a_terminal_it_is_coloured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    shown = on_terminal(monkeypatch)
    assert "\x1b[31mFAILED" in shown
    assert "[bold]" in shown


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    shown = on_terminal(monkeypatch)
    assert "\x1b[31m" not in shown
    assert "x" * 100 in shown


def test_times_are_local_and_exact() -> None:
    assert clock(1_700_000_000_123).endswith(".123")
    assert iso(1_700_000_000_123).startswith("2023-11-1")


def test_what_json_cannot_say_is_null_or_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("plain", "b\udcff"):
        print_json({text: [math.nan, math.inf, 0.5]}, line=True)
        told = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
        assert told == {text: [None, None, 0.5]}


def test_json_lines_and_documents(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": 1}, line=True)
    print_json({"a": 1})
    assert capsys.readouterr().out == '{"a":1}\n{\n  "a": 1\n}\n'
