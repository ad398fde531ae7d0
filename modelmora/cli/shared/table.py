"""Tables as lines of text: prose is folded and columns are dropped, nothing else is broken."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

GAP = 2
LEAST_PROSE = 24
_WORD = re.compile(r"\S*`[^`]*`\S*|\S+")
"""A command between backticks is one word: it is there to be pasted."""


@dataclass(frozen=True, slots=True)
class Table:
    """Cells by column; `drop` names what may be left out, first what is missed least.

    `prose` is the last column where that may be folded between words. All else is left whole: what
    is too wide for a terminal is wrapped by that, so that it can still be copied.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: frozenset[str] = frozenset()
    drop: Sequence[str] = ()
    prose: bool = False

    def fitted(self, width: int) -> Table:
        """The table for a terminal so wide."""
        dropped: list[str] = []
        for name in (*self.drop, None):
            fixed, last = self._widths(dropped)
            room = width - fixed
            if last <= room or (self.prose and room >= LEAST_PROSE) or name is None:
                break
            dropped.append(name)
        kept = [i for i, name in enumerate(self.columns) if name not in dropped]
        rows = [[row[i] for i in kept] for row in self.rows]
        if self.prose and last > room >= LEAST_PROSE:
            rows = [line for row in rows for line in folded(row, room)]
        return Table([self.columns[i] for i in kept], rows, self.right)

    def _widths(self, dropped: Sequence[str]) -> tuple[int, int]:
        """Of all columns but the last with their gaps, and of the last."""
        widths = [
            width
            for name, width in zip(self.columns, self.widths(), strict=True)
            if name not in dropped
        ]
        return sum(widths[:-1]) + GAP * (len(widths) - 1), widths[-1]

    def widths(self) -> list[int]:
        """Of each column, in cells of a terminal."""
        lines = [self.columns, *self.rows]
        return [max(cell_len(line[i]) for line in lines) for i in range(len(self.columns))]

    def lines(self) -> Iterator[list[str]]:
        """The head and each row, cells padded to their column; the last one ends without spaces."""
        widths = self.widths()
        for line in (self.columns, *self.rows):
            padded = [
                " " * (width - cell_len(cell)) + cell
                if name in self.right
                else cell + " " * (width - cell_len(cell))
                for name, cell, width in zip(self.columns, line, widths, strict=True)
            ]
            yield [*padded[:-1], padded[-1].rstrip()]


def folded(row: Sequence[str], width: int) -> list[list[str]]:
    """A row as several, its last cell's words over so many lines as `width` asks for."""
    lines: list[str] = []
    for word in _WORD.findall(row[-1]):
        if lines and cell_len(lines[-1]) + 1 + cell_len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    first, *others = lines or [""]
    empty = [""] * (len(row) - 1)
    return [[*row[:-1], first], *([*empty, line] for line in others)]
