"""The closed table of faults, what is promised under each, and which test proves which row."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).parents[1]


class Row(NamedTuple):
    """One fault, and what is promised while it lasts and behind it."""

    fault: str
    promise: str


ROWS: Mapping[str, Row] = {
    "F1": Row("child killed in a batch", "the batch runs again in another child"),
    "F2": Row("child hangs", "killed when its time is over; tried again, then a dead letter"),
    "F3": Row("child out of memory", "one request fails, or its group is halved; the others end"),
    "F4": Row("request that kills the child", "found and dead-lettered; its neighbours end"),
    "F5": Row("request that kills the node", "found behind its restarts and set aside"),
    "F6": Row("node killed", "its children die with it; another takes over"),
    "F7": Row("broker killed", "node and gateway live on, and resume when it is back"),
    "F8": Row("broker unreachable or frozen", "503 with a time to retry, not ready, alive"),
    "F9": Row("members join and leave every 2 s", "requests end all the while, each once"),
    "F10": Row("nothing is fetched any more", "the node ends itself and is started again"),
    "F11": Row("schema registry down, slow or failing", "known ids go on, unknown ones wait"),
    "F12": Row("object store down", "a typed error; never the address of a missing object"),
    "F13": Row("disk full", "a typed error; no file is left half written"),
    "F14": Row("ten times more than can be done", "memory stays flat; `busy` with a time to retry"),
    "F15": Row("clocks jump or lie", "no request expires early, or lives for ever"),
    "F16": Row("gateway killed while callers wait", "asked again, an id has the outcome there is"),
    "F17": Row("two nodes on one cache", "one installs, the other waits; a dead one's lock goes"),
    "F18": Row("records that are no request", "a dead letter says why; the offset moves on"),
    "F19": Row("schemas made to harm", "refused before anything is decoded with them"),
    "F20": Row("images made to harm", "refused by format and size before they are unpacked"),
    "F21": Row("models made to harm", "refused at install, by the lock, and at the load"),
    "F22": Row("names made to harm", "refused before any file is opened"),
    "F23": Row("callers of HTTP and gRPC who harm", "refused; memory flat; others are served"),
    "F24": Row("file of a model changed", "its load is refused; what is loaded serves on"),
    "F25": Row("child that lies", "dropped; no answer goes to another's request"),
    "F26": Row("descriptors and threads exhausted", "nothing ends; it serves when there are some"),
    "F27": Row("zygote killed", "another one forks; what runs is not disturbed"),
    "F28": Row("node or gateway frozen", "another takes over; what the frozen one says is late"),
    "F29": Row("log shorter than the committed offset", "read on from where the log begins anew"),
    "F30": Row("topics deleted, made anew, widened", "served as they are then, none skipped"),
    "F31": Row("two members with one id", "the second is refused while the first lives"),
    "chaos": Row("all that `make chaos` has, at random", "every request ends as it must"),
    "soak": Row("those of `make soak`, for ten minutes", "the same; what is held stays flat"),
}


def marked(folder: Path = TESTS) -> dict[str, frozenset[str]]:
    """The tests that prove each row, as `file::function`, read from their marks without a run."""
    found: dict[str, set[str]] = {row: set() for row in ROWS}
    for path in sorted(folder.rglob("test_*.py")):
        tree = ast.parse(path.read_text())
        file = path.relative_to(TESTS.parent).as_posix()
        everywhere = set(_rows(each for each in tree.body if isinstance(each, ast.Assign)))
        for name, test in _tests(tree):
            for row in everywhere | set(_rows(test.decorator_list)):
                found.setdefault(row, set()).add(f"{file}::{name}")
    return {row: frozenset(tests) for row, tests in found.items()}


def _tests(
    tree: ast.Module | ast.ClassDef, within: str = ""
) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for each in tree.body:
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
            if each.name.startswith("test"):
                yield within + each.name, each
        elif isinstance(each, ast.ClassDef) and each.name.startswith("Test"):
            yield from _tests(each, f"{within}{each.name}::")


def _rows(nodes: Iterator[ast.stmt] | list[ast.expr]) -> Iterator[str]:
    """What stands in `pytest.mark.row(...)` under these."""
    for node in nodes:
        for call in ast.walk(node):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.row":
                yield from (ast.literal_eval(each) for each in call.args)
