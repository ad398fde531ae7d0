"""House rules that can be measured: sizes of files and functions, and what is never imported."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.measuring import ALONE, ELSEWHERE

ROOT = Path(__file__).parents[1]
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50
# Unpickling runs code; nothing of ours does it (invariant I9).
PICKLES = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
GENERATED = ROOT / "modelmora" / "rpc"


def sources(*tops: str) -> list[Path]:
    return sorted(
        path
        for top in tops
        for path in (ROOT / top).rglob("*.py")
        if not path.is_relative_to(GENERATED) and not path.is_relative_to(ROOT / "modelmora/agents")
    )


def shipped() -> list[Path]:
    return sources("modelmora", "agents", "schemas")


def code_length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function's body without its docstring and the functions defined inside.

    The signature does not count: a command's signature is the list of its options.
    """
    body = function.body
    if ast.get_docstring(function, clean=False) is not None:
        body = body[1:]
    if not body:
        return 0
    inner = sum(
        (node.end_lineno or node.lineno) - node.lineno + 1
        for node in body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return (function.end_lineno or function.lineno) - body[0].lineno + 1 - inner


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module name imported anywhere in the file, also by importlib with a literal."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module)):
                yield module
            case ast.Call(
                func=ast.Attribute(attr="import_module") | ast.Name(id="__import__"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield name


def trusting_calls(tree: ast.AST) -> Iterator[int]:
    """Lines on which a call or a mapping sets `trust_remote_code` to anything but False."""
    for node in ast.walk(tree):
        match node:
            case ast.keyword(arg="trust_remote_code", value=value):
                values = [value]
            case ast.Dict(keys=keys, values=all_values):
                values = [
                    value
                    for key, value in zip(keys, all_values, strict=True)
                    if isinstance(key, ast.Constant) and key.value == "trust_remote_code"
                ]
            case _:
                continue
        yield from (
            value.lineno
            for value in values
            if not (isinstance(value, ast.Constant) and value.value is False)
        )


def test_there_is_something_to_measure() -> None:
    assert len(shipped()) > 30


def test_files_are_short() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in [*shipped(), *sources("tests")]
    }
    assert {path: n for path, n in lengths.items() if n > MAX_FILE_LINES} == {}


def test_functions_are_short() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name} has {code_length(node)} lines"
        for path in shipped()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and code_length(node) > MAX_FUNCTION_LINES
    ]
    assert long == []


def test_what_is_not_traced_is_there() -> None:
    assert [each for each in ALONE + ELSEWHERE if not [*ROOT.glob(f"{each}*")]] == []


def test_every_module_says_what_it_is() -> None:
    silent = [str(p) for p in shipped() if not ast.get_docstring(ast.parse(p.read_text()))]
    assert silent == []


def test_nothing_unpickles() -> None:
    found = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in shipped()
        for name in imported(ast.parse(path.read_text()))
        if name.split(".")[0] in PICKLES
    ]
    assert found == []


def test_no_code_from_model_repositories() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in shipped()
        for line in trusting_calls(ast.parse(path.read_text()))
    ]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "def f():\n    from pickle import loads",
        "import os, marshal as m",
        "import importlib\nimportlib.import_module('cloudpickle')",
        "__import__('dill')",
    ],
)
def test_a_planted_pickle_is_seen(code: str) -> None:
    assert {name.split(".")[0] for name in imported(ast.parse(code))} & PICKLES


@pytest.mark.parametrize(
    "code",
    ["f(trust_remote_code=True)", "f(trust_remote_code=x)", "f(**{'trust_remote_code': 1})"],
)
def test_planted_trust_is_seen(code: str) -> None:
    assert list(trusting_calls(ast.parse(code)))


def test_distrust_is_allowed() -> None:
    assert list(trusting_calls(ast.parse("f(trust_remote_code=False)"))) == []


RULES = {
    r"\{[a-z_.]*host\}:|AF_INET6|rpartition\(\":\"\)": "modelmora/addresses.py",
    r"\.isprintable\(|unicode_escape": "modelmora/text.py",
    r"get_close_matches": "modelmora/text.py",
    r".modelmora-(err|gateway\b|han|pri|repl|run|sha|wor)": "modelmora/messages/headers.py",
    r"add_signal_handler": "modelmora/surroundings.py",
    r"os\.environ\[.MODELMORA|startswith\(.MODELMORA_": "modelmora/settings/sources.py",
}
"""What is decided in one place: the words by which a second place would be seen."""


@pytest.mark.parametrize("words", RULES)
def test_a_rule_has_one_place(words: str) -> None:
    places = {
        path.relative_to(ROOT).as_posix()
        for path in shipped()
        if re.search(words, path.read_text())
    }
    assert places <= {RULES[words]}


def test_length_is_that_of_the_body() -> None:
    code = 'def f(\n    a,\n    b,\n):\n    """a\n\n    b\n    """\n    x = 1\n    return x\n'
    (function,) = ast.parse(code).body
    assert isinstance(function, ast.FunctionDef)
    assert code_length(function) == 2
