"""Starts, feeds, watches and ends the children of a node, and keeps their zygote alive."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

from modelmora.resources import peak_memory
from modelmora.resources.gpus import held_by
from modelmora.sandbox import Mode
from modelmora.settings import Runtime
from modelmora.workers import linux
from modelmora.workers.events import (
    ExitReason,
    ExitReport,
    GroupLike,
    PlaceLike,
    SpecLike,
    WorkerEvents,
)
from modelmora.workers.exits import reap
from modelmora.workers.handle import Spawned
from modelmora.workers.launch import Launcher
from modelmora.workers.process import ChildProcess, Surroundings

SAMPLE_S = 5.0
ORPHANS_S = 30.0
ORPHAN_END_S = 0.02
LOOK_AGAIN_S = 1.0
"""After the system refused a look, as it does without a free descriptor."""
log = logging.getLogger(__name__)


class Supervisor:
    """The children of one node. All methods belong to the loop's thread, which must be main.

    A child sees the one device that it is for, the zygote none. `on_zygote` hears the pid of each
    zygote from which children are forked from then on, and None when there is none. `zygote` is the
    first one, if it runs already. `sandbox` is how well children must be enclosed, `runtimes` the
    other environments that models may name.
    """

    def __init__(
        self,
        events: WorkerEvents,
        *,
        on_zygote: Callable[[int | None], None] | None = None,
        zygote: Spawned | None = None,
        sandbox: Mode = Mode.BEST_EFFORT,
        runtimes: Mapping[str, Runtime] | None = None,
    ) -> None:
        self._orphans_due = asyncio.Event()
        self._launcher = Launcher(
            on_zygote or (lambda _pid: None), self._orphans_due.set, zygote, runtimes or {}
        )
        self._sandbox = sandbox
        self._events = events
        self._children: dict[int, ChildProcess] = {}
        self._lives: set[asyncio.Task[None]] = set()
        self._housekeeping: asyncio.Task[None] | None = None
        self._was_subreaper = False
        self._stopped: set[int] = set()
        """Pids that were stopped by a signal at the last look."""
        self._stopping = False

    @property
    def zygote_pid(self) -> int | None:
        """The living zygote, or None."""
        return self._launcher.zygote_pid

    @property
    def zygote_silent_s(self) -> float:
        """For how long the living zygote has left pings unanswered."""
        return self._launcher.zygote_silent_s

    @property
    def zygote_pids(self) -> set[int]:
        """That one, one that is to take its place, and those that are about to end."""
        return self._launcher.zygote_pids

    @property
    def pids(self) -> dict[int, int]:
        """Replica -> pid of the living children."""
        return {r: child.pid for r, child in self._children.items() if child.pid is not None}

    @property
    def forked(self) -> int:
        """Children that were forked by the zygote."""
        return self._launcher.forked

    @property
    def fresh_starts(self) -> int:
        """Children that had to start in a fresh interpreter."""
        return self._launcher.fresh_starts

    @property
    def zygote_starts(self) -> int:
        """Zygotes started so far."""
        return self._launcher.zygote_starts

    async def start(self) -> None:
        """Start the zygote, without waiting for its imports: loads wait for them."""
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="memory")
        self._around = Surroundings(
            self._events, self._launcher, self._reader, self._tree, self._at_rest, self._sandbox
        )
        if linux.supported:
            self._was_subreaper = linux.is_subreaper()
            linux.become_subreaper()
        self._launcher.start()
        self._housekeeping = asyncio.create_task(self._keep_house())

    def preload(self, modules: Iterable[str]) -> None:
        """Have the zygote import these; one that runs without them is replaced in its time."""
        self._launcher.preload(modules)

    async def zygote_ready(self) -> dict[str, object]:
        """Wait for the zygote's imports; facts: ready_ms, threads, missing modules."""
        return await self._launcher.ready()

    async def stop(self) -> None:
        """Kill all children and the zygote, report each, and leave nothing behind."""
        self._stopping = True
        if self._housekeeping is not None:
            self._housekeeping.cancel()
            await asyncio.gather(self._housekeeping, return_exceptions=True)
        # Before the children, so that no load is left waiting for the zygote.
        await self._launcher.stop()
        for child in self._children.values():
            child.kill("node_stops")
        if self._lives:
            await asyncio.wait(self._lives)
        if self._housekeeping is not None:
            while self._clear_orphans():  # noqa: ASYNC110  # /proc has no event
                await asyncio.sleep(ORPHAN_END_S)
            self._reader.shutdown()
        if linux.supported and not self._was_subreaper:
            linux.become_subreaper(False)

    def load(self, replica: int, spec: SpecLike, place: PlaceLike | None = None) -> None:
        """Start a child for `replica` and load the model into it, there; None = on the CPU.

        Raises ValueError while an earlier child of this replica is not reported as exited.
        """
        if replica in self._children:
            raise ValueError(f"replica {replica} has a child")
        if self._stopping:
            raise ValueError("the supervisor stops")
        child = self._children[replica] = ChildProcess(replica, spec, place, self._around)
        life = asyncio.create_task(self._live(child))
        self._lives.add(life)
        life.add_done_callback(self._lives.discard)

    def run(self, group: GroupLike) -> None:
        """Give a group to its replica. Raises KeyError when that has no child."""
        self._children[group.replica].run(group)

    def threads(self, replica: int, count: int) -> None:
        """Have a replica's child compute with so many CPU threads. Nothing if there is none."""
        child = self._children.get(replica)
        if child is not None:
            child.threads(count)

    def cancel(self, group_id: int, index: int) -> None:
        """Ask whichever child has this group to leave out one request, if it still can."""
        for child in self._children.values():
            child.cancel(group_id, index)

    def kill(self, replica: int, reason: str) -> None:
        """Kill a replica's child; `reason` is the report's detail. Nothing if there is none."""
        child = self._children.get(replica)
        if child is not None:
            child.kill(reason)

    async def _live(self, child: ChildProcess) -> None:
        try:
            report = await child.live()
        except Exception:
            # Its requests must not wait for ever; the process, if any, is an orphan from here on.
            log.exception("lost sight of replica %d", child.replica)
            report = ExitReport(ExitReason.CRASHED, "the node lost sight of it", None)
            self._orphans_due.set()
        finally:
            del self._children[child.replica]
        self._events.on_exited(child.replica, report)

    def _tree(self) -> list[int]:
        return [os.getpid(), *self.pids.values(), *self.zygote_pids]

    def _at_rest(self, leaving: int) -> bool:
        others = (child for replica, child in self._children.items() if replica != leaving)
        return not self._stopping and all(child.at_rest for child in others)

    async def _keep_house(self) -> None:
        """Sample the memory of children that worked; reap what became ours by inheritance."""
        elapsed = 0.0
        while True:
            try:
                # Not wait_for: Python 3.11's may swallow the cancellation that stop() sends.
                async with asyncio.timeout(SAMPLE_S):
                    await self._orphans_due.wait()
            except TimeoutError:
                elapsed += SAMPLE_S
                self._end_stopped()
            try:
                await self._sample()
                if self._orphans_due.is_set() or elapsed >= ORPHANS_S:
                    elapsed = 0.0
                    await self._reap()
            except OSError as error:
                log.warning("children cannot be looked at now (%s)", error.strerror)
                await asyncio.sleep(LOOK_AGAIN_S)

    async def _sample(self) -> None:
        loop = asyncio.get_running_loop()
        for child in list(self._children.values()):
            if child.busy and child.pid is not None:
                child.busy = False
                sizes = await loop.run_in_executor(self._reader, _sizes, child.pid, child.gpu)
                self._sampled(child, *sizes)

    async def _reap(self) -> None:
        """Due until there are none any more."""
        self._orphans_due.set()
        if self._clear_orphans():
            await asyncio.sleep(ORPHAN_END_S)
        else:
            self._orphans_due.clear()

    def _end_stopped(self) -> None:
        """Kill the children that are stopped for a second look.

        To all who ask such a model is ready, and whatever it is given waits for its time to end.
        """
        stopped = {pid for pid in self.pids.values() if linux.is_stopped(pid)}
        for pid in stopped & self._stopped:
            log.warning("child %d is stopped by a signal; it is killed", pid)
            with suppress(ProcessLookupError):  # its zygote reaps it, where it ended just now
                os.kill(pid, signal.SIGKILL)
        self._stopped = stopped

    def _sampled(self, child: ChildProcess, private: int, on_gpu: int) -> None:
        pid = child.pid
        if pid and private and self._children.get(child.replica) is child:
            child.private_bytes = private
            child.held = replace(child.held, private_bytes=private, gpu_bytes=on_gpu)
            if self._launcher.owns_its_libraries(pid):  # which no next one will
                self._events.on_memory(child.replica, replace(child.held, cost=None))
            else:
                self._events.on_memory(child.replica, child.held)

    def _clear_orphans(self) -> int:
        """Kill and reap the processes below us that nobody knows; returns how many are left.

        They are helpers of children that ended, and a child whose zygote died before it could
        name it.
        """
        if not linux.supported or self._launcher.forking:
            return 0
        known = {*self.pids.values(), *self.zygote_pids}
        left = 0
        for pid, _session, zombie in linux.children_in_sessions(self._launcher.sessions):
            if pid in known:
                continue
            if zombie:
                log.info("reaped orphan %d, exit code %s", pid, reap(pid))
            else:
                os.kill(pid, signal.SIGKILL)
                left += 1
        return left


def _sizes(pid: int, gpu: str) -> tuple[int, int]:
    """The most private memory of late, and what is held of the GPU, if it is on one."""
    return peak_memory(pid), held_by(pid, gpu) if gpu else 0
