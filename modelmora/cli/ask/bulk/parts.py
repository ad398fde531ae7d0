"""What a bulk run has written by now: appended row by row, made whole by one rename."""

from __future__ import annotations

import fcntl
import os
import re
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import orjson

from modelmora.cli.ask.bulk.values import Failure, Value, Vector
from modelmora.errors import ConfigurationError, Conflict, MissingExtra, ModelMoraError

BATCH = 1_000
COPY = 1 << 20


class Part(Protocol):
    """The answers of the first rows, in order; `rows` of them, of which `failures` failed."""

    rows: int
    failures: int

    def append(self, values: Sequence[Value]) -> None:
        """Write the next rows; what is handed to the system stays there if we are killed."""

    def finish(self) -> None:
        """Put the whole in its place, at once."""

    def close(self) -> None:
        """Leave it as it is."""


class Log:
    """A file that only grows, and is written by one process at a time."""

    def __init__(self, path: Path) -> None:
        """Open or create it.

        Raises Conflict where another process writes it, ConfigurationError where it cannot be.
        """
        self.path = path
        try:
            self.fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise ConfigurationError(f"{path}: {error.strerror}; name another --out") from None
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise Conflict(f"{path} is written by another run; wait for its end") from None

    def size(self) -> int:
        """Bytes."""
        return os.fstat(self.fd).st_size

    def write(self, data: bytes) -> None:
        """Append it. Raises ModelMoraError where the disk does not take it."""
        os.lseek(self.fd, 0, os.SEEK_END)
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self.fd, view) :]
        except OSError as error:
            raise ModelMoraError(
                f"{self.path}: {error.strerror}; the same command goes on from there"
            ) from None

    def lines(self) -> Iterator[bytes]:
        """Its whole lines."""
        with self.path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield line

    def cut(self, size: int) -> None:
        """Leave no more than so many bytes."""
        os.ftruncate(self.fd, size)

    def put(self, target: Path) -> None:
        """Give it its name, once all of it is on the disk."""
        os.fsync(self.fd)
        self.path.rename(target)

    def close(self) -> None:
        """Close it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Lines:
    """A line of JSON for each row: its number, and its output or error."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self.log = Log(_beside(target, "part"))
        self.rows = self.failures = 0
        size = 0
        for line in self.log.lines():
            self.rows += 1
            self.failures += _is_failure(line)
            size += len(line)
        self.log.cut(size)

    def append(self, values: Sequence[Value]) -> None:
        """As Part has it."""
        lines = [_line(self.rows + number, value) for number, value in enumerate(values)]
        self.log.write(b"".join(lines))
        self.rows += len(values)
        self.failures += sum(isinstance(value, Failure) for value in values)

    def finish(self) -> None:
        """As Part has it."""
        self.log.put(self._target)

    def close(self) -> None:
        """As Part has it."""
        self.log.close()


def _line(row: int, value: Value) -> bytes:
    told: dict[str, Any] = {"row": row}
    match value:
        case Failure(code, message):
            told["error"] = {"code": code, "message": message}
        case Vector():
            told["output"] = value.numbers()
        case _:
            told["output"] = value
    return orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE)


def _is_failure(line: bytes) -> bool:
    return re.match(rb'\{"row":\d+,"error":', line) is not None


class Vectors:
    """A matrix as numpy's .npy has it, float32; a row that failed is NaN, and told beside it.

    NPY format 1.0: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
    """

    HEAD = 128

    def __init__(self, target: Path) -> None:
        self._target = target
        self.log = Log(_beside(target, "part"))
        self._told = Log(_beside(target, "errors.jsonl"))
        head = self.log.path.read_bytes()[: self.HEAD] if self.log.size() >= self.HEAD else b""
        shape = re.search(rb"'shape': \(\d+, (\d+)\)", head)
        self._width = int(shape[1]) if shape else 0
        self.rows = (self.log.size() - self.HEAD) // (4 * self._width) if self._width else 0
        self.log.cut(self.HEAD + self.rows * 4 * self._width if self._width else 0)
        self._early: list[Failure] = []
        kept = [each for each in self._told.lines() if orjson.loads(each)["row"] < self.rows]
        self.failures = len(kept)
        self._told.cut(sum(map(len, kept)))

    def append(self, values: Sequence[Value]) -> None:
        """As Part has it. Raises ModelMoraError where a value is no vector like the others."""
        for value in values:
            if not isinstance(value, Failure | Vector):
                raise ModelMoraError("the model answers no vectors; name a .jsonl file for --out")
        if not self._width:
            first = next((each for each in values if isinstance(each, Vector)), None)
            if first is None:  # nobody knows how long a row is
                self._early += [each for each in values if isinstance(each, Failure)]
                self.rows += len(values)
                self.failures += len(values)
                return
            self._width = len(first.data) // 4
            self.log.write(self._head(0))
            self.rows -= len(self._early)
            self.failures -= len(self._early)
            values, self._early = [*self._early, *values], []
        self._write(values)

    def _write(self, values: Sequence[Value]) -> None:
        gap = array("f", [float("nan")]).tobytes() * self._width
        rows, told = [], []
        for number, value in enumerate(values):
            rows.append(gap if isinstance(value, Failure) else value.data)
            if len(rows[-1]) != 4 * self._width:
                raise ModelMoraError("the model answers vectors of several lengths")
            if isinstance(value, Failure):
                told.append(_line(self.rows + number, value))
        # In this order: what is told of a row that is not there is dropped when it goes on.
        self._told.write(b"".join(told))
        self.log.write(b"".join(rows))
        self.rows += len(rows)
        self.failures += len(told)

    def _head(self, rows: int) -> bytes:
        about = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {self._width}), }}"
        fill = self.HEAD - 10
        return b"\x93NUMPY\x01\x00" + fill.to_bytes(2, "little") + f"{about:<{fill - 1}}\n".encode()

    def finish(self) -> None:
        """As Part has it."""
        if not self._width:
            self.log.write(self._head(0))
            self._told.write(b"".join(_line(n, each) for n, each in enumerate(self._early)))
        os.pwrite(self.log.fd, self._head(self.rows), 0)
        if not self._told.size():
            self._told.path.unlink()
        self.log.put(self._target)

    def close(self) -> None:
        """As Part has it."""
        self.log.close()
        self._told.close()


class Table(Lines):
    """A table of Parquet, with `row`, `output` and `error`: lines, until it is whole."""

    def __init__(self, target: Path) -> None:
        try:
            import pyarrow  # noqa: F401
        except ImportError:
            raise MissingExtra("parquet", "writing Parquet") from None
        super().__init__(target)

    def finish(self) -> None:
        """As Part has it."""
        import pyarrow
        from pyarrow import parquet

        output = pyarrow.string()
        for line in self.log.lines():
            if (found := orjson.loads(line).get("output")) is not None:
                vector = isinstance(found, list) and all(isinstance(n, float) for n in found)
                output = pyarrow.list_(pyarrow.float32()) if vector else output
                break
        schema = pyarrow.schema(
            [("row", pyarrow.int64()), ("output", output), ("error", pyarrow.string())]
        )
        aside = _beside(self._target, "table")
        with parquet.ParquetWriter(aside, schema) as writer:
            for rows in self._batches(text=output == pyarrow.string()):
                writer.write_table(pyarrow.Table.from_pylist(rows, schema))
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.rename(self._target)
        self.log.path.unlink()

    def _batches(self, *, text: bool) -> Iterator[list[dict[str, Any]]]:
        rows: list[dict[str, Any]] = []
        for line in self.log.lines():
            row = orjson.loads(line)
            if error := row.get("error"):
                row["error"] = f"{error['code']}: {error['message']}"
            elif text and not isinstance(row["output"], str):
                row["output"] = orjson.dumps(row["output"]).decode()
            rows.append(row)
            if len(rows) == BATCH:
                yield rows
                rows = []
        if rows:
            yield rows


def _beside(target: Path, ending: str) -> Path:
    return target.with_name(f"{target.name}.{ending}")


_PARTS: dict[str, type[Lines | Vectors]] = {
    ".jsonl": Lines,
    ".npy": Vectors,
    ".parquet": Table,
}


def part_of(target: Path) -> Part:
    """What there is of a target by now. Raises ConfigurationError, Conflict."""
    made = _PARTS.get(target.suffix)
    if made is None:
        raise ConfigurationError(f"--out {target} must end in {', '.join(_PARTS)}")
    if target.exists():
        raise ConfigurationError(f"{target} is there already; remove it, or name another")
    return made(target)
