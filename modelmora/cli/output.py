"""What people and programs read: data on stdout, talk on stderr, plain where nobody looks."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import orjson
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from modelmora.text import printable

Cell = str | int | float | None
NOTHING = "-"


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


def say(message: str) -> None:
    """One line of talk; brackets in it are no markup, what steers a terminal is shown."""
    talk().print(printable(message), markup=False)


def print_json(value: Any, *, line: bool = False) -> None:
    """One JSON document on stdout; `line` for one of many, each on a line of its own."""
    option = 0 if line else orjson.OPT_INDENT_2
    indent = None if line else 2
    try:
        text = orjson.dumps(value, option=option | orjson.OPT_NON_STR_KEYS, default=str).decode()
    except orjson.JSONEncodeError:
        # Text of bytes that are no UTF-8, which JSON has as escapes only.
        text = json.dumps(value, indent=indent, default=str)
    if not text.replace("\n", "").isprintable():
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
    columns: Sequence[str], rows: Iterable[Sequence[Cell]], *, right: Iterable[str] = ()
) -> None:
    """A table: ruled and folded to the width on a terminal, aligned plain columns elsewhere."""
    cells = [[NOTHING if cell is None else printable(str(cell)) for cell in row] for row in rows]
    to_right = set(right)
    console = data()
    if not console.is_terminal:
        _print_plain(columns, cells, to_right)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in to_right else "left", overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    console.print(table, soft_wrap=False)


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
    "loaded": "green",
    "ok": "green",
    "note": "yellow",
    "WRONG": "bold red",
}


def _print_plain(columns: Sequence[str], rows: Sequence[Sequence[str]], right: set[str]) -> None:
    lines = [list(columns), *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        aligned = (
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, cell, width in zip(columns, line, widths, strict=True)
        )
        sys.stdout.write("  ".join(aligned).rstrip() + "\n")
    sys.stdout.flush()


def clock(milliseconds: int) -> str:
    """A Unix time in ms as local date and time."""
    local = datetime.fromtimestamp(milliseconds / 1000).astimezone()
    return local.strftime("%m-%d %H:%M:%S.") + f"{milliseconds % 1000:03d}"


def minute(milliseconds: int) -> str:
    """A Unix time in ms as local date and time, to the minute."""
    return datetime.fromtimestamp(milliseconds / 1000).astimezone().strftime("%m-%d %H:%M")


def iso(milliseconds: int) -> str:
    """A Unix time in ms as RFC 3339 in local time."""
    return (
        datetime.fromtimestamp(milliseconds / 1000).astimezone().isoformat(timespec="milliseconds")
    )


def node_name(name: str) -> str:
    """A node's name as people tell nodes apart: `node-` and eight digits of its UUID."""
    return name[:13] + "…" if len(name) > 24 else name
