"""One child as the node sees it: its socket, its exit, what it owes, and the proof of its end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

from modelmora.errors import Code
from modelmora.messages import DeviceKind
from modelmora.resources import memory_of, summed_pss
from modelmora.resources.gpus import held_by
from modelmora.sandbox import Mode
from modelmora.workers import protocol
from modelmora.workers.batches import decode_batches
from modelmora.workers.channel import Channel
from modelmora.workers.chunks import CHUNK_S, Chunk, Told
from modelmora.workers.events import (
    ExitReason,
    ExitReport,
    GroupLike,
    Held,
    MetaLike,
    PlaceLike,
    SpecLike,
    WorkerEvents,
)
from modelmora.workers.exits import wait_exit
from modelmora.workers.protocol import Kind, ProtocolError

# A dead child's socket may hold answers still; one that closed its socket should be ending.
LAST_WORDS_S = 1.0
# What a result can hold leaves at its end at once.
CHUNKS_AT_ONCE = 64
# Limits are halved, and sizes doubled after each, so no honest child has more to tell.
LESSONS, _MOST = 64 * 64, 1 << 63
# A driver takes its time to free what a killed process held.
GPU_BACK_S, GPU_LOOK_S = 30.0, 0.05


class Starter(Protocol):
    """How a child is started (`Launcher`)."""

    async def launch(self, visible: str, runtime: str | None) -> tuple[int, socket.socket]:
        """Start a child that sees these CUDA devices; its pid, our end of its socket.

        Raises OSError.
        """

    def ended(self, pid: int, code: int | None) -> None:
        """A child was reaped."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all children of a supervisor share.

    `tree` names the pids whose memory is summed; `at_rest` says whether all children but this one
    have nothing to do; `sandbox` how well they must be enclosed.
    """

    events: WorkerEvents
    starter: Starter
    reader: Executor
    tree: Callable[[], list[int]]
    at_rest: Callable[[int], bool]
    sandbox: Mode


class _Owed:
    """The answers that a child owes for one group, and what its requests may tell until then."""

    __slots__ = ("answered", "batched", "chunks", "missing", "next", "since", "started")

    def __init__(self, told: Sequence[Told]) -> None:
        self.answered = bytearray(len(told))
        self.missing = len(told)
        self.started = self.batched = False
        self.since = time.monotonic()
        self.chunks = 0
        self.next = [each.chunks for each in told]

    def tells(self, chunk: Chunk) -> None:
        """Raises ProtocolError where the chunk is none of these, out of turn, or one too many."""
        index = chunk.index
        if index >= len(self.answered) or self.answered[index]:
            raise ProtocolError("a chunk that nobody waits for")
        if chunk.tells:
            if chunk.sequence not in (0, self.next[index]):
                raise ProtocolError("a chunk out of turn")
            self.next[index] = chunk.sequence + 1
        self.chunks += 1
        passed = (time.monotonic() - self.since) / CHUNK_S
        if self.chunks > len(self.answered) * (CHUNKS_AT_ONCE + passed):
            raise ProtocolError("more chunks than a child may send")


class ChildProcess:
    """The process of one replica. Every method is to be called on the loop's thread."""

    def __init__(
        self, replica: int, spec: SpecLike, place: PlaceLike | None, around: Surroundings
    ) -> None:
        self.replica = replica
        self.pid: int | None = None
        self.private_bytes = 0
        self.busy = False
        self._spec = spec
        self._place = place
        self.gpu = _visible(place)
        self.held = Held()
        self._around = around
        self._owed: dict[int, _Owed] = {}
        self._loaded = False
        self._begun = time.monotonic()
        self._end: tuple[ExitReason, str] | None = None
        self._end_asked = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._lessons = 0

    @property
    def at_rest(self) -> bool:
        """It has its model, owes nothing, and stays."""
        return self._loaded and not self._owed and self._end is None

    def run(self, group: GroupLike) -> None:
        """Send a group, in one write; nothing happens once the child is on its way out."""
        if self._transport is None or self._end is not None or self._transport.is_closing():
            return
        metas = [cast("MetaLike", work.meta) for work in group.works]
        requests: list[dict[str, object]] = [
            {"id": work.request_id, "principal": meta.principal, "traceparent": meta.traceparent}
            for work, meta in zip(group.works, metas, strict=True)
        ]
        told = [meta.told for meta in metas]
        for entry, before in zip(requests, told, strict=True):
            if before.chunks:
                entry["told"] = (before.chunks, before.chars, before.crc)
        values = [work.value for work in group.works]
        parameters = metas[0].parameters if metas else {}
        frame = protocol.encode_run(group.id, group.threads, parameters, requests, values)
        self._owed[group.id] = _Owed(told)
        self.busy = True
        self._transport.write(frame)

    def threads(self, count: int) -> None:
        """Tell its share of the cores; one that owes nothing hears it with its next group."""
        if self._owed and self._transport and not self._transport.is_closing():
            self._transport.write(protocol.encode_threads(count))

    def cancel(self, group: int, index: int) -> None:
        """Ask for one request back; a group that is done needs none."""
        if group in self._owed and self._transport and not self._transport.is_closing():
            self._transport.write(protocol.encode_cancel(group, index))

    def kill(self, detail: str, reason: ExitReason = ExitReason.KILLED) -> None:
        """Have the process killed, with memory measured around it; the first reason stands."""
        if self._end is None:
            self._end = (reason, detail)
        self._end_asked.set()

    async def live(self) -> ExitReport:
        """The child's whole life: start, load, serve, end."""
        try:
            starter = self._around.starter
            self.pid, ours = await starter.launch(self.gpu, self._spec.runtime)
        except OSError as error:
            message = f"no process could be started: {error.strerror}"
            if runtime := self._spec.runtime:
                message += f" (runtime `{runtime}`: see `runtimes` in the node's settings)"
            self._around.events.on_load_failed(self.replica, Code.MODEL_UNAVAILABLE, message)
            return ExitReport(ExitReason.NOT_STARTED, message, None)
        channel = Channel(self._take, lambda message: self.kill(message, ExitReason.LIED))
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_unix_connection(lambda: channel, sock=ours)
        if not self._transport.is_closing():
            order = _order(self._spec, self._place, self._around.sandbox)
            self._transport.write(protocol.encode_json(Kind.LOAD, order))
        return await self._watch(self.pid, channel)

    async def _watch(self, pid: int, channel: Channel) -> ExitReport:
        """Until the child is gone: by itself, or by a kill that was asked for."""
        exited: asyncio.Future[Any] = asyncio.ensure_future(wait_exit(pid))
        asked: asyncio.Future[Any] = asyncio.ensure_future(self._end_asked.wait())
        await asyncio.wait({exited, asked, channel.closed}, return_when=asyncio.FIRST_COMPLETED)
        private = before = after = 0
        alone = self._around.at_rest(self.replica)
        if asked.done() and not exited.done():
            private, before = await self._measure(pid, self._around.tree() if alone else [])
            _signal(pid)
        elif not exited.done():
            first = asyncio.FIRST_COMPLETED
            await asyncio.wait({exited, asked}, timeout=LAST_WORDS_S, return_when=first)
            if not exited.done():
                _signal(pid)
        code = await exited
        asked.cancel()
        if self._end is None or self._end[0] is ExitReason.LOAD_FAILED:
            await asyncio.wait({channel.closed}, timeout=LAST_WORDS_S)
        if self._end is None and not self._loaded:
            self._never_loaded(code)
        if self._transport is not None:
            self._transport.abort()
        self._around.starter.ended(pid, code)
        if before:
            after = await self._tree_without(pid)
        held, kept = await self._gpu_back(pid)
        alone = alone and self._around.at_rest(self.replica)
        reason, detail = self._end or (ExitReason.CRASHED, f"it ended with exit code {code}")
        private = private or self.private_bytes
        return ExitReport(reason, detail, code, private, before, after, alone, held, kept)

    def _never_loaded(self, code: int | None) -> None:
        """A runtime that cannot even begin ends with an exit code, most often the same each time.

        One that a signal has ended died as any child may.
        """
        runtime = self._spec.runtime
        if runtime is None or code is None or code < 0:
            return
        message = (
            f"its runtime `{runtime}` ended with exit code {code} before the model was loaded; "
            "what it wrote to the node's stderr says why (a Python needs `pip install modelmora`)"
        )
        self._end = (ExitReason.LOAD_FAILED, message)
        self._around.events.on_load_failed(self.replica, Code.MODEL_UNAVAILABLE, message)

    async def _measure(self, pid: int, pids: Sequence[int]) -> tuple[int, int]:
        """Its private memory, and that of all these, which may be none.

        Where others take or give memory meanwhile a sum proves nothing, and to read it for each of
        many that end together would keep their memory for seconds.
        """
        gpu = self.gpu
        loop = asyncio.get_running_loop()
        private, before, on_gpu = await loop.run_in_executor(
            self._around.reader,
            lambda: (memory_of(pid).private, summed_pss(pids), held_by(pid, gpu) if gpu else 0),
        )
        self.held = replace(self.held, gpu_bytes=on_gpu or self.held.gpu_bytes)
        return private, before

    async def _gpu_back(self, pid: int) -> tuple[int, int]:
        """Wait until the driver has given back what the dead process held of its GPU.

        What that was, and what it has kept for so long that nobody waits any more.
        """
        loop, end = asyncio.get_running_loop(), time.monotonic() + GPU_BACK_S
        while self.gpu:
            kept = await loop.run_in_executor(self._around.reader, held_by, pid, self.gpu)
            if not kept or time.monotonic() >= end:
                return max(self.held.gpu_bytes, kept), kept
            await asyncio.sleep(GPU_LOOK_S)
        return 0, 0

    async def _tree_without(self, pid: int) -> int:
        pids = [other for other in self._around.tree() if other != pid]
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._around.reader, summed_pss, pids)

    def _take(self, kind: Kind, body: memoryview) -> None:
        """One frame of the child. Raises ProtocolError when it is not owed."""
        if self._end is not None:
            return
        if kind is Kind.RESULTS:
            self._take_results(body)
        elif kind is Kind.CHUNK:
            group, chunk = protocol.decode_chunk(body)
            self._owing(group).tells(chunk)
            self._around.events.on_chunk(self.replica, group, chunk)
        elif kind is Kind.STARTED:
            group = protocol.decode_started(body)
            owed = self._owing(group)
            if owed.started:
                raise ProtocolError("a group that starts twice")
            owed.started = True
            self._around.events.on_started(self.replica, group)
        elif kind is Kind.GROUP_DONE:
            group, run_ms = protocol.decode_done(body)
            if self._owing(group).missing:
                raise ProtocolError("a group that is done before all was answered")
            del self._owed[group]
            self._around.events.on_group_done(self.replica, group, run_ms)
        elif kind is Kind.BATCHES:
            group, batches = decode_batches(body)
            owed = self._owing(group)
            if owed.batched:
                raise ProtocolError("a group that tells its batches twice")
            owed.batched = True
            self._around.events.on_batches(self.replica, batches)
        elif kind is Kind.LEARNED:
            self._take_learned(protocol.decode_json(body))
        else:
            self._take_loaded(kind, protocol.decode_json(body))

    def _take_results(self, body: memoryview) -> None:
        group, results = protocol.decode_results(body)
        owed = self._owing(group)
        answered, count = owed.answered, len(owed.answered)
        for result in results:
            index = result.index
            if index >= count or answered[index]:
                raise ProtocolError("an answer that nobody asked for")
            answered[index] = 1
        owed.missing -= len(results)
        self._around.events.on_results(self.replica, group, results)

    def _take_learned(self, values: Mapping[str, object]) -> None:
        cost, safe = values.get("cost"), values.get("safe_cost")
        if not (_is_cost(cost) and (safe is None or _is_cost(safe))):
            raise ProtocolError("a lesson that is none")
        self._lessons += 1
        if self._lessons > LESSONS:
            raise ProtocolError("more lessons than there are to learn")
        self.held = replace(self.held, cost=cast("int", cost), safe_cost=cast("int | None", safe))
        # What was sampled before was held with other batches.
        self._around.events.on_memory(self.replica, replace(self.held, cost=None))

    def _owing(self, group: int) -> _Owed:
        owed = self._owed.get(group)
        if owed is None:
            raise ProtocolError("a frame of an unknown group")
        return owed

    def _take_loaded(self, kind: Kind, values: Mapping[str, object]) -> None:
        if self._loaded:
            raise ProtocolError("a model that is loaded twice")
        self._loaded = True
        if kind is Kind.LOAD_FAILED:
            error = protocol.decode_error(values)
            self._end = (ExitReason.LOAD_FAILED, error.message)
            self._around.events.on_load_failed(self.replica, error.code, error.message)
            return
        private = values.get("private_bytes", 0)
        if not (isinstance(private, int) and 0 <= private < _MOST):
            raise ProtocolError("a model's memory that is no number of bytes")
        self.private_bytes = private
        self.busy = bool(self.gpu)  # what it holds there is for the driver to say
        load_ms = (time.monotonic() - self._begun) * 1e3
        self._around.events.on_loaded(self.replica, values, load_ms)


def _is_cost(value: object) -> bool:
    return isinstance(value, int) and 0 < value < _MOST


def _visible(place: PlaceLike | None) -> str:
    """The CUDA_VISIBLE_DEVICES of a child: its own GPU alone, which it knows as the first."""
    return place.device.id if place and place.device.kind is DeviceKind.CUDA else ""


def _order(spec: SpecLike, place: PlaceLike | None, sandbox: Mode) -> dict[str, object]:
    kind = place.device.kind if place else DeviceKind.CPU
    return {
        "name": spec.name,
        "version": spec.version,
        "task": spec.task,
        "engine": spec.engine,
        "path": spec.path,
        "adapter": spec.adapter,
        "options": {**spec.options, "device": kind.value},
        "safe_cost": place.safe_cost if place else None,
        "unchanged": [*spec.unchanged],
        "sandbox": sandbox.value,
        "warm_up": b64encode(spec.warm_up).decode() if spec.warm_up else None,
        "batches": True,  # a node of an earlier release takes no such frame
    }


def _signal(pid: int) -> None:
    """SIGKILL to a child that is not reaped yet, so the pid is still its own."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
