"""Outputs on their way into the object store, before the outcome that refers to them is written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from modelmora.errors import Code, ConfigurationError, NotFound, RequestError, Unreachable
from modelmora.messages import Content, ObjectRef
from modelmora.objects.contents import stored_form
from modelmora.objects.folder import FolderStore
from modelmora.objects.objects import Objects
from modelmora.objects.patience import tries
from modelmora.objects.store import Full
from modelmora.text import size as as_size
from modelmora.wire import decode_outputs, encode_outputs

log = structlog.get_logger(__name__)
THREADS = 4
_REFERENCE = 1024
"""Bytes that a reference surely takes no more than; what is smaller stays where it is."""
_AROUND = 16
"""Bytes of each output beside its content, about."""
Moved = Callable[[bytes | RequestError], None]


class Mover(Protocol):
    """Keeps outputs that no record takes."""

    @property
    def inline_bytes(self) -> int:
        """Outputs up to this size stay in the result."""

    def move(
        self,
        outputs: bytes,
        principal: str,
        wanted: Callable[[], bool],
        moved: Moved,
    ) -> None:
        """Have them kept; `moved` gets those of the result, with references, or why not."""


@dataclass(slots=True)
class Part:
    """One output that is to become an object, in memory or in a file by now."""

    content: bytes | Path
    media_type: str


def too_many_bytes(sizes: Sequence[int], most: int) -> frozenset[int]:
    """Which outputs of these sizes have to go, the largest first, for the rest to have `most`."""
    excess, gone = sum(sizes) - most, set[int]()
    for index in sorted(range(len(sizes)), key=lambda index: -sizes[index]):
        if excess <= 0 or sizes[index] <= _REFERENCE:
            break
        excess -= sizes[index] - _REFERENCE
        gone.add(index)
    return frozenset(gone)


class Moving:
    """Takes outputs that are too large for a record, and gives them back with references.

    A store that does not answer is asked again for `retry_s`, and meanwhile the outputs lie in
    `spill`; where that has no room either, the request fails. Lives on one loop.
    """

    def __init__(self, objects: Objects, spill: FolderStore) -> None:
        self._objects = objects
        self._spill = spill
        self._threads = ThreadPoolExecutor(THREADS, "objects")
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_silent = False
        """Whether the store did not take what was last given to it."""
        self.held_bytes = 0
        """Bytes of outputs that wait in memory."""

    @property
    def inline_bytes(self) -> int:
        """Outputs up to this size stay where they are."""
        return self._objects.settings.inline_bytes

    def move(
        self, outputs: bytes, principal: str, wanted: Callable[[], bool], moved: Moved
    ) -> None:
        """Have outputs (Avro) moved; `moved` gets what stands in the result, or why nothing does.

        It is not called once `wanted` says that nobody here owes the outcome any more.
        """
        task = asyncio.create_task(self._run(outputs, principal, wanted, moved))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self, limit_s: float) -> None:
        """Wait so long until all that was taken is moved."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=limit_s)

    async def stop(self) -> None:
        """Leave what is on its way; it has no outcome, so its requests are run again."""
        for task in self._tasks:
            task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(
        self, outputs: bytes, principal: str, wanted: Callable[[], bool], moved: Moved
    ) -> None:
        held = len(outputs)
        self.held_bytes += held
        try:
            told: bytes | RequestError = await self._moved([outputs], principal, wanted)
        except RequestError as error:
            told = error
        except Exception:
            log.exception("outputs were not kept")
            told = RequestError(Code.INFERENCE_FAILED, "the node failed to keep its outputs")
        finally:
            self.held_bytes -= held
        if wanted():
            moved(told)

    async def _moved(
        self, outputs: list[bytes], principal: str, wanted: Callable[[], bool]
    ) -> bytes:
        """`outputs` is a list of one, so that nobody else holds what leaves memory."""
        loop, settings = asyncio.get_running_loop(), self._objects.settings
        found = await loop.run_in_executor(self._threads, self._split, outputs.pop())
        for index, each in enumerate(found):
            if isinstance(each, Part):
                if len(each.content) > settings.object_bytes:  # type: ignore[arg-type]
                    raise _too_large(f"one of its outputs is larger than {settings.object_bytes}")
                found[index] = await self._put(each, principal, wanted)
        contents = [each for each in found if not isinstance(each, Part)]
        told = await loop.run_in_executor(self._threads, encode_outputs, contents)
        if len(told) > settings.inline_bytes:
            most = as_size(settings.inline_bytes)
            raise _too_large(f"its outputs are too many for one result ({most})")
        return told

    def _split(self, outputs: bytes) -> list[Content | Part]:
        found: list[Content | Part] = list(decode_outputs(outputs))
        forms = [stored_form(each) for each in found if not isinstance(each, Part)]
        sizes = [len(form[0]) + _AROUND if form else 0 for form in forms]
        for index in too_many_bytes(sizes, self.inline_bytes - _REFERENCE):
            form = forms[index]
            if form:
                found[index] = Part(*form)
        return found

    async def _put(self, part: Part, principal: str, wanted: Callable[[], bool]) -> ObjectRef:
        """Keep one; asked again where the store does not answer. Raises RequestError."""
        loop = asyncio.get_running_loop()
        with ExitStack() as spilled:
            async for last in tries(self._objects.settings.retry_s):
                try:
                    ref = await loop.run_in_executor(
                        self._threads, self._objects.put, part.content, part.media_type, principal
                    )
                except Full as error:
                    raise _too_large(str(error)) from None
                except (Unreachable, NotFound, ConfigurationError) as error:
                    if last or not wanted():
                        raise RequestError(
                            Code.STORE_UNAVAILABLE, f"its outputs could not be kept: {error}"
                        ) from None
                    self._turn(silent=True, reason=str(error))
                else:
                    self._turn(silent=False)
                    return ref
                if isinstance(part.content, bytes):
                    await loop.run_in_executor(self._threads, self._spill_part, part, spilled)
        raise AssertionError  # the last try ends in one way or the other

    def _turn(self, *, silent: bool, reason: str | None = None) -> None:
        """Logged once for all that wait meanwhile."""
        if silent and not self._is_silent:
            log.warning("outputs wait for the object store", reason=reason)
        elif self._is_silent and not silent:
            log.info("the object store takes outputs again")
        self._is_silent = silent

    def _spill_part(self, part: Part, spilled: ExitStack) -> None:
        data = part.content
        if not isinstance(data, bytes):
            return
        try:
            self._spill.reserve(len(data))
            file, path = spilled.enter_context(self._spill.incoming())
            file.write(data)
            file.close()
        except (Unreachable, OSError) as error:
            raise _too_large(f"the object store does not answer, and {error}") from None
        part.content = path


def _too_large(why: str) -> RequestError:
    return RequestError(Code.TOO_LARGE, f"{why}; send it in parts")
