"""The rows of a file, of which one column is asked."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from modelmora.cli.ask.bulk.values import Failure
from modelmora.cli.ask.portions import PORTION_BYTES
from modelmora.errors import ConfigurationError, MissingExtra

COLUMN = "text"
MOST_LINE = 4 << 20
"""Bytes of a line; no request takes a text as long."""
BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Row:
    """A row's text, or why it has none; it ends `at` so much of the source's `total`."""

    text: str | Failure
    at: int


@dataclass(frozen=True, slots=True)
class Source:
    """A file that is read by rows; `column` is the one that is asked (`text`)."""

    path: Path
    column: str | None = None

    @property
    def total(self) -> int:
        """How long it is: rows of Parquet, bytes of others."""
        if self.path.suffix == ".parquet":
            return int(_parquet(self.path).metadata.num_rows)
        return self.path.stat().st_size

    def check(self) -> None:
        """Raises ConfigurationError where it is no file that can be read."""
        if self.path.suffix not in _READERS:
            endings = ", ".join(sorted(_READERS))
            raise ConfigurationError(f"--file {self.path} must end in one of {endings}")
        if not self.path.is_file():
            raise ConfigurationError(f"--file {self.path} is not there")

    def rows(self) -> Iterator[Row]:
        """Its rows in order, the same whenever it is read.

        Raises ConfigurationError where it has no such column, or is broken.
        """
        yield from _READERS[self.path.suffix](self)


def _jsonl(source: Source) -> Iterator[Row]:
    with source.path.open("rb") as file:
        for line in _lines(file):
            if isinstance(line, Failure):
                yield Row(line, file.tell())
            elif line.strip():
                yield Row(_of_json(line, source.column or COLUMN), file.tell())


def _of_json(line: bytes, column: str) -> str | Failure:
    try:
        found: Any = orjson.loads(line)
    except orjson.JSONDecodeError:
        return Failure("invalid_input", "the line is no JSON in UTF-8")
    if isinstance(found, dict):
        found = found.get(column)
        if found is None:
            return Failure("invalid_input", f"the line has no {column}; --column names another")
    return found if isinstance(found, str) else Failure("invalid_input", "it is no text")


def _txt(source: Source) -> Iterator[Row]:
    with source.path.open("rb") as file:
        for line in _lines(file):
            yield Row(line if isinstance(line, Failure) else _text(line), file.tell())


def _text(line: bytes) -> str | Failure:
    try:
        return line.rstrip(b"\r\n").decode()
    except UnicodeDecodeError:
        return Failure("invalid_input", "the line is no UTF-8")


def _lines(file: BinaryIO) -> Iterator[bytes | Failure]:
    """Its lines; one that is too long is passed over in pieces."""
    while line := file.readline(MOST_LINE):
        if line.endswith(b"\n") or len(line) < MOST_LINE:
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(MOST_LINE)
        yield Failure("too_large", f"the line has more than {MOST_LINE} bytes")


def _csv(source: Source) -> Iterator[Row]:
    csv.field_size_limit(MOST_LINE)
    dialect = "excel-tab" if source.path.suffix == ".tsv" else "excel"
    with source.path.open("rb") as raw:
        # What is no UTF-8 is one row's fault, and no reason to stop reading.
        text = io.TextIOWrapper(raw, "utf-8-sig", errors="surrogateescape", newline="")
        reader = csv.reader(text, dialect)
        try:
            names = next(reader, [])
            column = _column(source, names)
            for cells in reader:
                if cells:
                    yield Row(_cell(cells, column), raw.tell())
        except csv.Error as error:
            raise ConfigurationError(
                f"{source.path}, line {reader.line_num}: {error}; mend it and begin anew"
            ) from None


def _column(source: Source, names: list[str]) -> int:
    wanted = source.column or (names[0] if len(names) == 1 else COLUMN)
    if names and wanted not in names:
        raise ConfigurationError(_no_column(source, wanted, names))
    return names.index(wanted) if names else 0


def _no_column(source: Source, wanted: str, names: list[str]) -> str:
    return f"{source.path} has no column {wanted}; --column takes one of {', '.join(names[:20])}"


def _cell(cells: list[str], column: int) -> str | Failure:
    if column >= len(cells):
        return Failure("invalid_input", "the row is too short")
    try:
        cells[column].encode()
    except UnicodeEncodeError:
        return Failure("invalid_input", "the row is no UTF-8")
    return cells[column]


def _of_parquet(source: Source) -> Iterator[Row]:
    file = _parquet(source.path)
    names = file.schema_arrow.names
    wanted = source.column or (names[0] if len(names) == 1 else COLUMN)
    if wanted not in names:
        raise ConfigurationError(_no_column(source, wanted, names))
    number = 0
    for batch in file.iter_batches(BATCH, columns=[wanted]):
        for found in batch.column(0).to_pylist():
            number += 1
            text = found if isinstance(found, str) else Failure("invalid_input", "it is no text")
            yield Row(text, number)


def _parquet(path: Path) -> Any:
    try:
        from pyarrow import ArrowInvalid, parquet
    except ImportError:
        raise MissingExtra("parquet", "reading Parquet") from None
    try:
        return parquet.ParquetFile(path)
    except ArrowInvalid:
        raise ConfigurationError(f"{path} is no Parquet file") from None


_READERS: dict[str, Callable[[Source], Iterator[Row]]] = {
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".parquet": _of_parquet,
    ".tsv": _csv,
    ".txt": _txt,
}


def chunks(rows: Iterator[Row], most: int) -> Iterator[list[Row]]:
    """The rows in order, in parts of `most` rows and PORTION_BYTES."""
    part: list[Row] = []
    filled = 0
    for row in rows:
        size = len(row.text.encode()) if isinstance(row.text, str) else 0
        if part and (len(part) == most or filled + size > PORTION_BYTES):
            yield part
            part, filled = [], 0
        part.append(row)
        filled += size
    if part:
        yield part
