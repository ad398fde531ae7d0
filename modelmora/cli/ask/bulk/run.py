"""A bulk run: rows asked many at a time, written in order, gone on with where it was broken off."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import typer

from modelmora.cli.ask.bulk.parts import Part, part_of
from modelmora.cli.ask.bulk.rows import Row, Source, chunks
from modelmora.cli.ask.bulk.values import Failure, Value, values_of
from modelmora.cli.ask.infer import sizes_of
from modelmora.cli.ask.streaming import way_to
from modelmora.cli.ask.window import in_order
from modelmora.cli.shared.output import bar, say
from modelmora.client import AsyncClient, CallError, Options
from modelmora.errors import ConfigurationError
from modelmora.host.folder import write_atomically
from modelmora.host.instance import Instance
from modelmora.text import counted

WINDOW = 16
STEPPED_WINDOW = 64
ATTEMPTS = 20
ROWS_OWN = {
    "invalid_input",
    "undecodable",
    "too_large",
    "out_of_memory",
    "worker_crash",
    "worker_timeout",
    "retries_spent",
    "inference_failed",
}
"""What may be the fault of one row: the others are asked without it. Time that is over is not."""


@dataclass(frozen=True, slots=True)
class Bulk:
    """What is asked of which rows, and where the answers go."""

    model: str
    source: Source
    target: Path
    parameters: dict[str, Any] = field(default_factory=dict)
    priority: str = ""
    timeout_s: float = 60.0
    headers: dict[str, str] = field(default_factory=dict)


def bulk(where: Instance, asked: Bulk, grpc: str | None) -> None:
    """Run it to its end. Exits with 1 where a row failed."""
    asked.source.check()
    sizes = sizes_of(where, asked.model)
    if sizes.together:
        raise ConfigurationError(
            f"the inputs of {asked.model} belong together; it cannot be asked in bulk"
        )
    more = {"attempts": ATTEMPTS, "headers": asked.headers}
    address, options = way_to(where, grpc, asked.timeout_s, **more)
    most, window = (1, STEPPED_WINDOW) if sizes.stepped else (sizes.most, WINDOW)
    log = Notes(asked)
    with closing(part_of(asked.target)) as part:
        log.begin()
        with bar(asked.source.path.name, asked.source.total) as told:
            try:
                asyncio.run(Run(asked, log, part, told).all(address, options, most, window))
            except BaseException:
                if part.rows:
                    say(f"{counted(part.rows, 'row')} done; the same command goes on from there")
                raise
        part.finish()
    log.end()
    say(f"{counted(part.rows, 'row')} in {asked.target}")
    if part.failures:
        where_told = "" if asked.target.suffix != ".npy" else f"; see {asked.target}.errors.jsonl"
        say(f"{counted(part.failures, 'row')} failed{where_told}")
        raise typer.Exit(1)


class Notes:
    """What a part was begun with, kept beside it: another run must not go on with it."""

    def __init__(self, asked: Bulk) -> None:
        self._part = asked.target.with_name(f"{asked.target.name}.part")
        self._path = self._part.with_name(f"{self._part.name}.json")
        stat = asked.source.path.stat()
        self._about = {
            "model": asked.model,
            "parameters": asked.parameters,
            "file": str(asked.source.path.resolve()),
            "bytes": stat.st_size,
            "modified": stat.st_mtime_ns,
            "column": asked.source.column,
        }
        self.version = ""
        if self._part.exists() and self._part.stat().st_size:
            self._compare()

    def _compare(self) -> None:
        """Raises ConfigurationError where the part is of another run."""
        try:
            found = orjson.loads(self._path.read_bytes())
            self.version = str(found.pop("version"))
        except (OSError, ValueError, KeyError, AttributeError):
            found = None
        wrong = [name for name, each in self._about.items() if not found or found.get(name) != each]
        if wrong:
            raise ConfigurationError(
                f"{self._part} was begun with another {wrong[0]}; remove it to begin anew"
            )

    def begin(self) -> None:
        """Note it."""
        whole = {**self._about, "version": self.version}
        write_atomically(self._path, orjson.dumps(whole).decode())

    def pin(self, version: str) -> None:
        """All rows are answered by one version: that of the first."""
        self.version = version
        self.begin()

    def end(self) -> None:
        """There is no part any more."""
        self._path.unlink(missing_ok=True)


class Run:
    """Asks for what is not there yet."""

    def __init__(
        self, asked: Bulk, notes: Notes, part: Part, told: Callable[[int, str], None]
    ) -> None:
        self._asked = asked
        self._notes = notes
        self._part = part
        self._told = told
        self._first = asyncio.Lock()

    async def all(self, address: str, options: Options, most: int, window: int) -> None:
        """Ask and write all rows. Raises CallError and ModelMoraError where it cannot go on."""
        rows = islice(self._asked.source.rows(), self._part.rows, None)
        async with AsyncClient(address, options=options) as self._client:
            async for at, values in in_order(self._work(rows, most), window):
                self._part.append(values)
                self._told(at, f"{self._part.rows:,} rows")

    def _work(self, rows: Iterator[Row], most: int) -> Iterator[Any]:
        return (self._chunk(chunk) for chunk in chunks(rows, most))

    async def _chunk(self, rows: list[Row]) -> tuple[int, list[Value]]:
        texts = [row.text for row in rows if isinstance(row.text, str)]
        answers = iter(await self._values(texts) if texts else ())
        values = [row.text if isinstance(row.text, Failure) else next(answers) for row in rows]
        return rows[-1].at, values

    async def _values(self, texts: list[str]) -> list[Value]:
        """A value of each; where one may be at fault, both halves are asked by themselves."""
        try:
            return await self._answers(texts)
        except CallError as error:
            if error.code not in ROWS_OWN:
                raise
            if len(texts) == 1:
                return [Failure(error.code, error.message)]
        half = len(texts) // 2
        return [*await self._values(texts[:half]), *await self._values(texts[half:])]

    async def _answers(self, texts: list[str]) -> list[Value]:
        if not self._notes.version:
            async with self._first:
                if not self._notes.version:
                    return await self._ask(texts)
        return await self._ask(texts)

    async def _ask(self, texts: list[str]) -> list[Value]:
        asked, version = self._asked, self._notes.version
        name = asked.model if "@" in asked.model or not version else f"{asked.model}@{version}"
        answer = await self._client.infer(
            name, texts, parameters=asked.parameters, priority=asked.priority
        )
        if not version:
            self._notes.pin(answer.version)
        outputs = [await self._client.fetch(each) for each in answer.outputs]
        return values_of(outputs, len(texts))
