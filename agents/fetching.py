"""Inputs by reference: fetched before their request is admitted, so much at once as fits."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Protocol

import structlog

from modelmora.errors import Code, ConfigurationError, NotFound, RequestError, Unreachable
from modelmora.kafka.batches import Partition
from modelmora.messages import Content, InferenceRequest, Lane, ObjectRef
from modelmora.objects import Bad, Objects, content_of
from modelmora.objects.patience import tries
from modelmora.serving import Incoming, Record
from modelmora.wire import decode_request, encode_request

log = structlog.get_logger(__name__)
THREADS = 4
SHARE = 4
"""A model may fill this part of the limit from one lane, and one request more than that."""
_LOOK_S = 0.02
Queue = tuple[str, Lane]


class Owed(Protocol):
    """Who knows what this node still has to answer; see `partitions.intake`."""

    def room(self, lane: Lane) -> int:
        """Bytes that may be added before the lane is closed."""

    def weigh(self, record: Record, size: int) -> None:
        """Content of so many bytes comes with the record until it is answered, or is shed."""

    def weighs(self, record: Record) -> bool:
        """Whether its content counts; not any more of one that was shed, though it comes again."""

    def owes(self, record: Record) -> bool:
        """Whether the record's outcome is still to be given here."""


class Taker(Protocol):
    """Where requests go then; see `modelmora.serving.Service`."""

    def awaits(self, request: Incoming) -> bool:
        """Whether it is to be fetched; it may end meanwhile."""

    def accept(self, request: Incoming) -> None:
        """It has all its inputs."""

    def refuse(self, request: Incoming, error: RequestError) -> None:
        """It will never have them."""

    def arm(self) -> None:
        """That was all for now."""


class Fetching:
    """Only requests with references wait here; those behind them go on.

    They are open in the ledger all the while, so no commit passes them. What is fetched counts
    from before its fetch until the request is answered, and a fetch begins while its lane stays
    open with it: so none closes a lane, its own or another. All that is fetched stays within
    `limit` bytes, of one model and lane within a quarter of them. Where nothing is fetched yet, one
    request is, so that none waits for ever; it counts as what its lane has room for.
    """

    def __init__(self, objects: Objects, owed: Owed, taker: Taker, limit: int) -> None:
        self._objects = objects
        self._owed = owed
        self._taker = taker
        self._limit = limit
        self._threads = ThreadPoolExecutor(THREADS, "fetch")
        self._waiting: dict[Queue, deque[tuple[Incoming, InferenceRequest]]] = {}
        self._held: list[tuple[Record, Queue, int]] = []
        self._tasks: dict[asyncio.Task[None], Record | None] = {}

    def takes(self, request: Incoming) -> bool:
        """Whether the request has references; if so it is dealt with here.

        (1) Hardly any has the mark of a uri in it, and needs to be looked at.
        (2) What cannot be decoded is for the child to say.
        (3) One that may not be read is refused, with its whole request, before anything is fetched.
        """
        # (1)
        value = request.value or request.record.value or b""
        if b"://" not in value:
            return False
        # (2)
        try:
            whole = decode_request(value)
        except RequestError:
            return False
        refs = _refs(whole)
        if not refs:
            return False
        # (3)
        try:
            for _, ref in refs:
                self._objects.check(ref, request.principal)
            self._objects.check_size(sum(ref.size for _, ref in refs))
        except RequestError as error:
            self._taker.refuse(request, error)
            return True
        if not self._taker.awaits(request):
            return True
        queue = (request.head.model or request.head.task or "", request.lane)
        if queue in self._waiting:
            self._waiting[queue].append((request, whole))
        else:
            self._waiting[queue] = deque([(request, whole)])
            self._begin(self._serve(queue), None)
        return True

    def drop(self, partitions: Set[Partition]) -> list[Record]:
        """Forget the requests of these partitions; returns their records."""
        dropped: list[Record] = []
        for queue, waiting in self._waiting.items():
            kept = deque[tuple[Incoming, InferenceRequest]]()
            for each in waiting:
                record = each[0].record
                if (record.topic, record.partition) in partitions:
                    dropped.append(record)
                else:
                    kept.append(each)
            self._waiting[queue] = kept
        for task, found in self._tasks.items():
            gone = found is not None and (found.topic, found.partition) in partitions
            if found and gone and not task.done():  # else whoever took it has it
                task.cancel()
                self._tasks[task] = None
                dropped.append(found)
        return dropped

    @property
    def held_bytes(self) -> int:
        """Bytes that were fetched, or are about to be, and are not answered yet."""
        self._held = [each for each in self._held if self._owed.weighs(each[0])]
        return sum(size for _, _, size in self._held)

    def _begin(self, work: Coroutine[Any, Any, None], record: Record | None) -> None:
        task = asyncio.create_task(work, name="fetching")
        self._tasks[task] = record
        task.add_done_callback(lambda task: self._tasks.pop(task, None))

    async def _serve(self, queue: Queue) -> None:
        while self._waiting[queue]:
            if self._waiting[queue][0][0].ended:
                self._waiting[queue].popleft()
                continue
            size = sum(ref.size for _, ref in _refs(self._waiting[queue][0][1]))
            if not self._has_room(queue, size):
                await asyncio.sleep(_LOOK_S)
                continue
            request, whole = self._waiting[queue].popleft()
            self._held.append((request.record, queue, size))
            self._owed.weigh(request.record, max(0, min(size, self._owed.room(queue[1]))))
            self._begin(self._fetch(request, whole), request.record)
        del self._waiting[queue]

    def _has_room(self, queue: Queue, size: int) -> bool:
        held = self.held_bytes
        own = sum(held for _, each, held in self._held if each == queue)
        fits_own = not own or own + size <= self._limit // SHARE
        fits = held + size <= self._limit and size <= self._owed.room(queue[1])
        return fits_own and (not held or fits)

    async def _fetch(self, request: Incoming, whole: InferenceRequest) -> None:
        try:
            request.value = await self._with_contents(request, whole)
            if self._owed.owes(request.record):
                self._taker.accept(request)
        except RequestError as error:
            self._refuse(request, error)
        except Exception:
            log.exception("inputs were not fetched", offset=request.record.offset)
            message = "the node failed to fetch the inputs; its log says why"
            self._refuse(request, RequestError(Code.INFERENCE_FAILED, message))
        self._taker.arm()

    def _refuse(self, request: Incoming, error: RequestError) -> None:
        if self._owed.owes(request.record):
            self._taker.refuse(request, error)

    async def _with_contents(self, request: Incoming, whole: InferenceRequest) -> bytes:
        """The request's value with contents in place of its references. Raises RequestError."""
        loop = asyncio.get_running_loop()
        inputs = list(whole.inputs)
        for index, ref in _refs(whole):
            inputs[index] = await self._content(request, index, ref)
        found = replace(whole, inputs=tuple(inputs))
        return await loop.run_in_executor(self._threads, encode_request, found)

    async def _content(self, request: Incoming, index: int, ref: ObjectRef) -> Content:
        loop = asyncio.get_running_loop()
        async for last in tries(self._objects.settings.retry_s):
            if request.ended:
                raise RequestError(Code.CANCELLED, "it ended while its inputs were fetched")
            try:
                return await loop.run_in_executor(self._threads, self._read, ref)
            except (NotFound, Bad) as error:
                raise RequestError(Code.INVALID_INPUT, f"inputs.{index}: {error}") from None
            except (Unreachable, ConfigurationError) as error:
                if last:
                    raise RequestError(
                        Code.STORE_UNAVAILABLE, f"inputs.{index} could not be fetched: {error}"
                    ) from None
                log.warning("inputs wait for the object store", reason=str(error))
        raise AssertionError  # the last try ends in one way or the other

    def _read(self, ref: ObjectRef) -> Content:
        return content_of(self._objects.read(ref), ref.media_type)


def _refs(request: InferenceRequest) -> list[tuple[int, ObjectRef]]:
    return [(at, each) for at, each in enumerate(request.inputs) if isinstance(each, ObjectRef)]
