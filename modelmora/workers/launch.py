"""Starts children: through the zygote where it can fork, else in a fresh interpreter."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import subprocess
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from modelmora.settings import Runtime
from modelmora.workers import linux
from modelmora.workers.handle import (
    ForkRefused,
    Spawned,
    Zygote,
    ZygoteEnded,
    known,
    spawn_child,
    spawn_zygote,
)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 30.0
NEXT_S = 2.0
"""How long a load waits for another zygote to be started before it gets a fresh interpreter."""
log = logging.getLogger(__name__)


class Launcher:
    """Starts children and counts how.

    `on_zygote` hears the pid of each zygote, and None when it ended; `on_orphans` is called when
    processes may have been left that nobody knows. `first` is the first zygote, if it runs already.
    `runtimes` are the environments for children that are not to be forked.
    """

    def __init__(
        self,
        on_zygote: Callable[[int | None], None],
        on_orphans: Callable[[], None],
        first: Spawned | None,
        runtimes: Mapping[str, Runtime],
    ) -> None:
        self._on_zygote = on_zygote
        self._on_orphans = on_orphans
        self._first = first
        self._runtimes = runtimes
        self._modules: tuple[str, ...] = first.modules if first else ()
        self._zygote: Zygote | None = None
        self._coming: Zygote | None = None
        self._changed = asyncio.Event()
        self._keepers: dict[Zygote, asyncio.Task[None]] = {}
        self._pause = FIRST_PAUSE_S
        self._restart: asyncio.TimerHandle | None = None
        self._fresh: dict[int, subprocess.Popen[bytes]] = {}
        self._origins: dict[int, Zygote] = {}
        self._stopping = False
        self.sessions: set[int] = set()
        self.forked = 0
        self.fresh_starts = 0
        self.zygote_starts = 0

    @property
    def zygote_pid(self) -> int | None:
        """The living zygote, or None."""
        return self._zygote.pid if self._zygote else None

    @property
    def zygote_silent_s(self) -> float:
        """For how long the living zygote has left pings unanswered."""
        return self._zygote.silent_s if self._zygote else 0.0

    @property
    def zygote_pids(self) -> set[int]:
        """That one, one that is to take its place, and those that are about to end."""
        return {zygote.pid for zygote in self._keepers}

    @property
    def forking(self) -> bool:
        """Whether a child may exist whose pid is not known yet."""
        return any(zygote.pending for zygote in self._keepers)

    def preload(self, modules: Iterable[str]) -> None:
        """Have zygotes import these too.

        A zygote that runs without them goes on until a second one, which has them, is ready.
        """
        new = tuple(name for name in dict.fromkeys(modules) if name not in self._modules)
        self._modules += new
        if not new or self._zygote is None:
            return
        if self._coming is not None:
            self._coming.kill()
        self._coming = self._keep_alive(spawn_zygote(self._modules))

    def start(self) -> None:
        """Start the zygote and keep one alive."""
        if linux.supported:
            self._put(self._keep_alive(self._first or spawn_zygote(self._modules)))

    async def stop(self) -> None:
        """End the zygotes and start no more children."""
        self._stopping = True
        self._changed.set()
        if self._restart is not None:
            self._restart.cancel()
        for zygote in self._keepers:
            zygote.kill()
        await asyncio.gather(*self._keepers.values(), return_exceptions=True)

    async def ready(self) -> dict[str, Any]:
        """Wait until the zygote has its imports; facts: ready_ms, threads, missing modules."""
        zygote = self._zygote
        if zygote is None:
            return {}
        await zygote.settled.wait()
        return zygote.facts

    async def launch(self, visible: str, runtime: str | None) -> tuple[int, socket.socket]:
        """Start a child; returns its pid and the node's end of its socket. Raises OSError.

        `visible` is its CUDA_VISIBLE_DEVICES, `runtime` names another environment, of which the
        zygote knows nothing.
        """
        zygote = self._zygote
        if zygote is None and self._restart is not None and runtime is None:
            zygote = await self._after(None)
        if zygote is not None and runtime is None:
            try:
                return await self._fork_from_any(zygote, visible)
            except ForkRefused as refusal:
                log.warning("a child gets a fresh interpreter, which is slow: %s", refusal)
        if self._stopping:
            raise OSError(errno.ECANCELED, "the node stops")
        ours, theirs = socket.socketpair()
        elsewhere = self._runtimes[runtime] if runtime else None
        try:
            with theirs:
                process = spawn_child(theirs, elsewhere, visible)
        except OSError:
            ours.close()
            raise
        self.fresh_starts += 1
        self._fresh[process.pid] = process
        self.sessions.add(process.pid)
        return process.pid, ours

    def owns_its_libraries(self, pid: int) -> bool:
        """Whether a child's private memory may hold all that its zygote had imported.

        Its zygote has ended, so what they shared is the child's alone if no other has it.
        """
        origin = self._origins.get(pid)
        return origin is not None and origin not in self._keepers

    def ended(self, pid: int, code: int | None) -> None:
        """A child was reaped."""
        self._origins.pop(pid, None)
        process = self._fresh.pop(pid, None)
        if process is not None:
            process.returncode = known(code)
        self._on_orphans()

    async def _fork_from_any(self, zygote: Zygote, visible: str) -> tuple[int, socket.socket]:
        """From this one; where it ends meanwhile, from the next. Raises ForkRefused.

        Children of a fresh interpreter share no memory, and many may be loading.
        """
        try:
            return await self._fork(zygote, visible)
        except ZygoteEnded:
            following = await self._after(zygote)
            if following is None:
                raise
            return await self._fork(following, visible)

    async def _after(self, zygote: Zygote | None) -> Zygote | None:
        """The zygote that takes the place of one that ended; None where none comes soon."""
        try:
            async with asyncio.timeout(NEXT_S):
                while self._zygote in (None, zygote) and not self._stopping:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return None
        return None if self._stopping else self._zygote

    async def _fork(self, zygote: Zygote, visible: str) -> tuple[int, socket.socket]:
        # A pair of its own: a child whose fork was never confirmed must find its socket closed.
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                pid = await zygote.fork(theirs, visible)
        except BaseException:
            ours.close()
            raise
        self.forked += 1
        self._origins[pid] = zygote
        return pid, ours

    def _keep_alive(self, spawned: Spawned) -> Zygote:
        zygote = Zygote(spawned)
        self.zygote_starts += 1
        self.sessions.add(zygote.pid)
        self._keepers[zygote] = asyncio.create_task(self._keep(zygote))
        return zygote

    def _put(self, zygote: Zygote) -> None:
        """From now on children are forked from this one."""
        self._zygote = zygote
        self._changed.set()
        self._on_zygote(zygote.pid)

    async def _keep(self, zygote: Zygote) -> None:
        """See a zygote to its end: into its place once it is ready, and out of it."""
        ended = asyncio.create_task(zygote.wait())
        await zygote.settled.wait()
        if zygote is self._coming and zygote.facts and not self._stopping:
            former, self._coming = self._zygote, None
            self._put(zygote)
            if former is not None:
                former.retire()
        code = await ended
        del self._keepers[zygote]
        self._on_orphans()
        if zygote is self._coming:
            self._coming = None
            log.warning("a second zygote ended with %s; the first goes on", code)
        if zygote is self._zygote:
            self._zygote = None
            self._on_zygote(None)
            if not self._stopping:
                self._replace(zygote, code)

    def _replace(self, zygote: Zygote, code: int | None) -> None:
        """Start another; sooner if the last one had become ready."""
        self._pause = FIRST_PAUSE_S if zygote.facts else min(self._pause * 2, LONGEST_PAUSE_S)
        log.warning("the zygote ended with %s; another starts in %.2f s", code, self._pause)
        loop = asyncio.get_running_loop()
        self._restart = loop.call_later(self._pause, self._start_again)

    def _start_again(self) -> None:
        if self._zygote is None:  # none has taken its place meanwhile
            self._put(self._keep_alive(spawn_zygote(self._modules)))
