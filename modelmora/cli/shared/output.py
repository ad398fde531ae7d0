"""What people and programs read: data on stdout, talk on stderr, plain where nobody looks."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import orjson
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from modelmora.cli.shared.table import GAP, Table
from modelmora.text import local_clock, printable

Cell = str | int | float | None
NOTHING = "-"
PATIENCE_S = 1.0


def data() -> Console:
    """The console of stdout. Made anew each time, since tests and pipes replace the stream."""
    return Console(file=sys.stdout, highlight=False, soft_wrap=True)


def talk() -> Console:
    """The console of stderr: what is said to a person and is no data."""
    return Console(file=sys.stderr, highlight=False, soft_wrap=True, emoji=False)


def tell(line: str = "") -> None:
    """One line of data on stdout; what steers a terminal is shown."""
    sys.stdout.write(printable(line) + "\n")
    sys.stdout.flush()


def tell_more(text: str) -> None:
    """Part of a text on stdout, its line ends as they are; what steers a terminal is shown."""
    sys.stdout.write("\n".join(map(printable, text.split("\n"))))
    sys.stdout.flush()


def say(message: str) -> None:
    """One line of talk; what steers a terminal is shown. That nobody hears it stops nothing."""
    with suppress(OSError):
        sys.stderr.write(printable(message) + "\n")
        sys.stderr.flush()


def answer(question: str) -> str:
    """The line that the person at the terminal gives; "" where nothing comes any more."""
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline().strip()


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Say at a terminal what is waited for, once it takes longer than a second."""
    console = talk()
    if not console.is_terminal:
        yield
        return
    status = console.status(printable(what))
    timer = threading.Timer(PATIENCE_S, status.start)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        status.stop()


@contextmanager
def bar(what: str, total: int) -> Iterator[Callable[[int, str], None]]:
    """Show at a terminal how much of a total is done; it is called with that, and a word to it."""
    console = talk()
    if not console.is_terminal:
        yield lambda _done, _word: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[word]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(printable(what), total=total, word="")
        yield lambda done, word: progress.update(task, completed=done, word=printable(word))


def print_json(value: Any, *, line: bool = False) -> None:
    """One JSON document on stdout; `line` for one of many, each on a line of its own."""
    option = 0 if line else orjson.OPT_INDENT_2
    indent = None if line else 2
    try:
        text = orjson.dumps(value, option=option | orjson.OPT_NON_STR_KEYS, default=str).decode()
    except orjson.JSONEncodeError:
        # Text of bytes that are no UTF-8, which JSON has as escapes only; NaN it does not have.
        text = json.dumps(value, default=str)
        text = json.dumps(json.loads(text, parse_constant=lambda _: None), indent=indent)
    if printable(flat := text.replace("\n", "")) != flat:
        text = json.dumps(json.loads(text), indent=indent)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def print_bytes(value: bytes) -> None:
    """Exactly these bytes on stdout; on a terminal as text that cannot steer it."""
    if sys.stdout.isatty():
        tell(printable(value))
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(value)
        sys.stdout.buffer.flush()


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    *,
    right: Iterable[str] = (),
    drop: Sequence[str] = (),
    prose: bool = False,
) -> None:
    """A table: aligned columns, on a terminal fitted to its width as `Table` says."""
    cells = [[NOTHING if cell is None else printable(str(cell)) for cell in row] for row in rows]
    table = Table(columns, cells, frozenset(right), drop, prose)
    console = data()
    if console.is_terminal:
        table = table.fitted(console.width)
    for number, line in enumerate(table.lines()):
        shown = Text()
        for at, cell in enumerate(line):
            style = STYLES.get(cell.strip(), "") if number else "bold"
            shown.append(" " * GAP if at else "")
            shown.append(cell, style)
        shown.rstrip()
        console.print(shown, no_wrap=True, crop=False, overflow="ignore")


STYLES = {
    "COMPLETED": "green",
    "FAILED": "red",
    "REFUSED": "yellow",
    "EXPIRED": "yellow",
    "CANCELLED": "yellow",
    "STOPPED": "yellow",
    "crashed": "red",
    "quarantined": "red",
    "load_failed": "red",
    "failed": "red",
    "ready": "green",
    "loaded": "green",
    "ok": "green",
    "note": "yellow",
    "WRONG": "bold red",
}


def clock(milliseconds: int) -> str:
    """A Unix time in ms as local date and time."""
    return local_clock(milliseconds, f"%m-%d %H:%M:%S.{milliseconds % 1000:03d}")


def minute(milliseconds: int) -> str:
    """A Unix time in ms as local date and time, to the minute."""
    return local_clock(milliseconds, "%m-%d %H:%M")


def node_name(name: str) -> str:
    """A node's name as people tell nodes apart: `node-` and eight digits of its UUID."""
    return name[:13] + "…" if len(name) > 24 else name
