"""What strangers wrote and what is no text steers no terminal and never ends in a traceback."""

from __future__ import annotations

import ast
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import modelmora.cli
from modelmora.cli.app import VERBS, build, commands_of, plain
from tests.unit.cli.runs import Cli, Ran, door

NO_TEXT = "a\udcff"
"""An argument whose bytes are no UTF-8, as Python hands it over."""
STARTING = ("serve", "broker", "demo", "bench")
"""What an odd option may well start: only asked with a word too many."""


def printing(tree: ast.AST) -> Iterator[str]:
    """Every call that writes to a terminal by itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if re.fullmatch(
                r"print|typer\.s?echo|.*std(out|err)\.write(lines)?|.*print_exc.*", name
            ):
                yield name


def test_only_one_module_of_the_command_prints() -> None:
    folder = Path(modelmora.cli.__file__).parent
    found = {path.name for path in folder.rglob("*.py") if [*printing(ast.parse(path.read_text()))]}
    assert found == {"output.py"}


def commands() -> Iterator[tuple[list[str], Any]]:
    """Every command that can be called, with its words."""
    for path, command in commands_of(plain(build())):
        if not hasattr(command, "commands"):
            yield [*path], command


def calls() -> Iterator[list[str]]:
    """Every command with that in the place of each argument and option that takes text."""
    for words, command in commands():
        if words[0] in STARTING:
            yield [*words, NO_TEXT]
            continue
        needed = [NO_TEXT for each in command.params if each.param_type_name == "argument"]
        yield [*words, *needed]
        for each in command.params:
            if each.param_type_name == "option" and not each.is_flag:
                yield [*words, *needed, each.opts[0], NO_TEXT]


def harmless(ran: Ran, *, lines: int | None = 1) -> None:
    told = ran.out + ran.err
    assert told.replace("\n", "").isprintable(), told
    assert not re.search(r"Unicode\w*Error|unexpected \w+:", told), told
    if ran.code:
        assert lines is None or ran.err.count("\n") == lines, told


def test_the_walk_meets_every_verb() -> None:
    assert {words[0] for words, _ in commands()} == set(VERBS)


@pytest.mark.parametrize("call", list(calls()), ids=lambda call: " ".join(map(ascii, call)))
def test_an_argument_that_is_no_text_is_told_in_a_line(cli: Cli, call: list[str]) -> None:
    # A report has more lines, and so has argparse.
    harmless(cli(*call), lines=None if call[0] in ("doctor", "bench") else 1)


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
@pytest.mark.parametrize("words", [["infer", "m"], ["infer", "m", "-"]])
def test_standard_input_that_is_no_text(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, errors: str, words: list[str]
) -> None:
    stream = io.TextIOWrapper(io.BytesIO(b"fine\n\xff\n"), "utf-8", errors)
    monkeypatch.setattr(sys, "stdin", stream)
    with door({}) as gateway:
        ran = cli(*words, "--url", gateway.url)
    assert (ran.code, gateway.asked) == (2, [])
    assert "is not UTF-8" in ran.err
    harmless(ran)


def test_an_answer_of_a_door_steers_no_terminal(cli: Cli) -> None:
    forged = "x\x1b[2K\r\nm@1  ready"
    answer = {"request_id": forged, "model": forged, "version": forged, "outputs": [forged]}
    with door({"/infer/m": (200, answer)}) as gateway:
        harmless(cli("infer", "m", "text", "--url", gateway.url))
    with door({"/infer/m": (400, {"code": forged, "detail": forged})}) as gateway:
        harmless(cli("infer", "m", "text", "--url", gateway.url))
