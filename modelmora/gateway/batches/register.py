"""The register of files and batches: what callers ask of it, over the topic of all gateways."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import structlog
from aiokafka import ConsumerRecord

from modelmora.errors import Code, Undecodable
from modelmora.gateway.batches.state import (
    INPUT,
    KEPT_MS,
    WINDOW_MS,
    Batch,
    File,
    Ledger,
    told,
)
from modelmora.gateway.caller import caller
from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.shelf import Shelf
from modelmora.messages import BatchKind, BatchRecord
from modelmora.text import counted
from modelmora.web.problems import DoorCode
from modelmora.wire import decode_batch

log = structlog.get_logger(__name__)
Kind = TypeVar("Kind")
JSONL = "application/jsonl"
MOST_FILES = 10_000
MOST_OPEN = 100
"""Of one principal."""
HEARD_S = 5.0
MARGIN_MS = 3_600_000  # an object may be gone before the hour in which it expires is over


class Register:
    """Files and batches, for the caller of the context it is called in.

    `write` has a record on the topic when it returns, and raises Refusal; `catch_up` returns when
    all that lies there by now was given to `take`.
    """

    def __init__(
        self,
        shelf: Shelf,
        write: Callable[[BatchRecord], Awaitable[None]],
        catch_up: Callable[[], Awaitable[None]],
    ) -> None:
        self.ledger = Ledger()
        self._shelf = shelf
        self._write = write
        self._catch_up = catch_up
        self._told = asyncio.Event()
        self._heard: dict[str, float] = {}

    # What is heard -------------------------------------------------------------------------------

    def on_record(self, record: ConsumerRecord) -> None:
        """Take a record of the topic."""
        try:
            self.take(decode_batch(record.value))
        except (Undecodable, KeyError, TypeError, ValueError) as error:
            log.warning("batch record skipped", offset=record.offset, error=type(error).__name__)

    def take(self, record: BatchRecord) -> None:
        """Take what was told."""
        self.ledger.take(record)
        self._heard[record.id] = time.monotonic()
        before, self._told = self._told, asyncio.Event()
        before.set()

    async def changed(self, seconds: float) -> None:
        """Wait until something is told, not longer than that."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._told.wait()

    def silent_s(self, batch: Batch) -> float:
        """For how long nothing was told of it."""
        return time.monotonic() - self._heard.get(batch.id, 0.0)

    def forget(self) -> None:
        """Let go of what is kept no longer."""
        self.ledger.forget(now_ms())
        known = self.ledger.files.keys() | self.ledger.batches.keys()
        self._heard = {name: at for name, at in self._heard.items() if name in known}

    # What is told --------------------------------------------------------------------------------

    async def tell(
        self,
        name: str,
        kind: BatchKind,
        seen: Callable[[], object] | None = None,
        *,
        gateway: str = "",
        term: int = 0,
        details: str = "{}",
    ) -> None:
        """Write a record, and wait a little until it is `seen` here, too. Raises Refusal."""
        record = BatchRecord(name, caller.get(), kind, now_ms(), gateway, term, details)
        await self._write(record)
        if seen is None:
            return
        try:
            async with asyncio.timeout(HEARD_S):
                while not seen():
                    await self._told.wait()
        except TimeoutError:
            message = "the broker has it, and does not tell of it yet; ask a little later"
            raise Refusal(DoorCode.BROKER_UNREACHABLE, message) from None

    # Files ---------------------------------------------------------------------------------------

    async def add_file(self, path: Path, name: str, kept_ms: int = KEPT_MS) -> File:
        """Keep what lies there as an input of batches. Raises Refusal."""
        if len(self.files()) >= MOST_FILES:
            raise Refusal(Code.BUSY, f"you have {MOST_FILES} files here; delete some")
        until_ms = now_ms() + min(kept_ms, KEPT_MS)
        ref = await self._shelf.keep(path, JSONL, until_ms + MARGIN_MS)
        file_id = f"file-{uuid.uuid4().hex}"
        details = told(name=name, purpose=INPUT, expires_at=until_ms, parts=[ref])
        ledger = self.ledger
        await self.tell(file_id, BatchKind.FILE, lambda: file_id in ledger.files, details=details)
        return ledger.files[file_id]

    def files(self) -> list[File]:
        """The caller's, the oldest first."""
        at = now_ms()
        return [each for each in self.ledger.files_of(caller.get()) if each.expires_at > at]

    async def file(self, file_id: str) -> File:
        """The caller's file of that id. Raises Refusal."""
        found = await self._found(lambda: self.ledger.file(file_id, caller.get()))
        if found is None or found.expires_at <= now_ms():
            raise Refusal(DoorCode.NOT_FOUND, "there is no such file; see /v1/files")
        return found

    async def content(self, file: File) -> AsyncGenerator[bytes]:
        """Its bytes. Raises Refusal."""
        for part in file.parts:
            async for piece in self._shelf.chunks(part):
                yield piece

    async def delete_file(self, file_id: str) -> None:
        """Let go of a file; what a batch is still to read stays until then. Raises Refusal."""
        file = await self.file(file_id)
        await self.tell(
            file_id, BatchKind.DELETED, lambda: self.ledger.file(file_id, file.principal) is None
        )
        used = self.ledger.used()
        for part in file.parts:
            if part.uri not in used:
                await self._shelf.drop(part)

    # Batches -------------------------------------------------------------------------------------

    async def create(
        self, file_id: str, endpoint: str, metadata: Mapping[str, str] | None
    ) -> Batch:
        """A batch of the requests in a file. Raises Refusal."""
        file = await self.file(file_id)
        if file.purpose != INPUT:
            raise Refusal(Code.INVALID_INPUT, f"input_file_id: its purpose is not {INPUT}")
        if file.expires_at < now_ms() + WINDOW_MS:
            message = "input_file_id: the file expires before the batch may end; upload it again"
            raise Refusal(Code.INVALID_INPUT, message)
        if sum(1 for each in self.batches() if not each.end) >= MOST_OPEN:
            message = f"you have {counted(MOST_OPEN, 'batch', 'batches')} that have not ended"
            raise Refusal(Code.BUSY, f"{message}; wait for one, or cancel one")
        batch_id = f"batch_{uuid.uuid4().hex}"
        (ref,) = file.parts
        details = told(file_id=file_id, endpoint=endpoint, metadata=metadata, input=ref)
        ledger = self.ledger
        await self.tell(
            batch_id, BatchKind.BATCH, lambda: batch_id in ledger.batches, details=details
        )
        return ledger.batches[batch_id]

    def batches(self) -> list[Batch]:
        """The caller's, the oldest first."""
        return self.ledger.batches_of(caller.get())

    async def batch(self, batch_id: str) -> Batch:
        """The caller's batch of that id. Raises Refusal."""
        found = await self._found(lambda: self.ledger.batches.get(batch_id))
        if found is None or found.principal != caller.get():
            raise Refusal(DoorCode.NOT_FOUND, "there is no such batch; see /v1/batches")
        return found

    async def cancel(self, batch_id: str) -> Batch:
        """See to it that a batch does not run on. Raises Refusal."""
        batch = await self.batch(batch_id)
        if batch.end:
            raise Refusal(DoorCode.REFUSED, f"the batch is {batch.end}, and cannot be cancelled")
        if batch.cancelled_at is None:

            def seen() -> bool:
                now = self.ledger.batches[batch_id]
                return now.cancelled_at is not None or now.end is not None

            await self.tell(batch_id, BatchKind.CANCEL, seen)
        return await self.batch(batch_id)

    async def _found(self, look: Callable[[], Kind | None]) -> Kind | None:
        """What is there, also where another gateway has told of it a moment ago."""
        found = look()
        if found is None:
            await self._catch_up()
            found = look()
        return found


def now_ms() -> int:
    """Unix ms."""
    return time.time_ns() // 1_000_000
