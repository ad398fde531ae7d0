"""Starts children: through the zygote where it can fork, else in a fresh interpreter."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from modelmora.errors import ModelMoraError
from modelmora.workers import linux
from modelmora.workers.environment import worker_environment
from modelmora.workers.exits import wait_exit

# The real model modules, since transformers imports them only when a model of theirs is made.
MODULES = (
    "torch",
    "transformers",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.bert.modeling_bert",
    "transformers.models.bert.tokenization_bert",
    "safetensors.torch",
    "modelmora.engines.embedding",
)
DATAGRAM = 64 << 10
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 30.0
log = logging.getLogger(__name__)


class ForkRefused(ModelMoraError):
    """The zygote cannot fork a child now."""


class Zygote:
    """One zygote process as the node sees it. Start it on the main thread (`die_with_parent`)."""

    def __init__(self, modules: Sequence[str]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._socket = ours
        self._answers: dict[int, asyncio.Future[int]] = {}
        self._token = 0
        self._loop = asyncio.get_running_loop()
        self.facts: dict[str, Any] = {}
        self.settled = asyncio.Event()  # ready, or gone
        with theirs:
            self._process = spawn("modelmora.workers.zygote", theirs, *modules)
        self.pid = self._process.pid
        self._loop.add_reader(ours.fileno(), self._receive)

    @property
    def pending(self) -> int:
        """Forks that are asked for and not answered."""
        return len(self._answers)

    async def fork(self, child: socket.socket, devices: str | None) -> int:
        """Fork a child that serves this socket; returns its pid. Raises ForkRefused."""
        self._token += 1
        token = self._token
        answer: asyncio.Future[int] = self._loop.create_future()
        self._answers[token] = answer
        order = {"fork": token, "environment": {"CUDA_VISIBLE_DEVICES": devices}}
        try:
            socket.send_fds(self._socket, [json.dumps(order).encode()], [child.fileno()])
            return await answer
        except OSError as error:
            raise ForkRefused(f"the zygote does not listen: {error.strerror}") from None
        finally:
            del self._answers[token]

    async def wait(self) -> int | None:
        """Wait for its end, then refuse what was asked of it; returns the exit code."""
        code = await wait_exit(self.pid)
        self._process.returncode = _known(code)
        self._receive()
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ForkRefused("the zygote ended"))
        self.settled.set()
        return code

    def kill(self) -> None:
        """SIGKILL; children go on. Not to be called after `wait` has returned."""
        os.kill(self.pid, signal.SIGKILL)

    def _receive(self) -> None:
        while True:
            try:
                data = self._socket.recv(DATAGRAM)
            except BlockingIOError:
                return
            except ConnectionError:
                data = b""
            if not data:
                self._loop.remove_reader(self._socket.fileno())
                return
            self._take(json.loads(data))

    def _take(self, message: dict[str, Any]) -> None:
        if "ready" in message:
            self.facts = message["ready"]
            self.settled.set()
            return
        answer = self._answers.get(message["token"])
        if answer is None or answer.done():
            return
        if "pid" in message:
            answer.set_result(message["pid"])
        else:
            answer.set_exception(ForkRefused(message["refused"]))


def spawn(
    module: str, sock: socket.socket, *arguments: str, devices: str | None = ""
) -> subprocess.Popen[bytes]:
    """Run a module of ours with a socket, in a session of its own, so Ctrl-C is the node's."""
    environment = worker_environment()
    if devices is None:
        del environment["CUDA_VISIBLE_DEVICES"]
    else:
        environment["CUDA_VISIBLE_DEVICES"] = devices
    fd = sock.fileno()
    return subprocess.Popen(
        [sys.executable, "-m", module, str(fd), str(os.getpid()), *arguments],
        pass_fds=[fd],
        env=environment,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


class Launcher:
    """Starts children and counts how.

    `on_zygote` hears the pid of each zygote, and None when it ended; `on_orphans` is called when
    processes may have been left that nobody knows.
    """

    def __init__(
        self,
        modules: Sequence[str],
        devices: str | None,
        on_zygote: Callable[[int | None], None],
        on_orphans: Callable[[], None],
    ) -> None:
        self._modules = modules
        self._devices = devices
        self._on_zygote = on_zygote
        self._on_orphans = on_orphans
        self._zygote: Zygote | None = None
        self._fresh: dict[int, subprocess.Popen[bytes]] = {}
        self._keeper: asyncio.Task[None] | None = None
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
    def forking(self) -> bool:
        """Whether a child may exist whose pid is not known yet."""
        return self._zygote is not None and self._zygote.pending > 0

    def start(self) -> None:
        """Start the zygote and keep one alive."""
        if linux.supported:
            self._start_zygote()
            self._keeper = asyncio.create_task(self._keep_zygote())

    async def stop(self) -> None:
        """End the zygote and start no more children."""
        self._stopping = True
        if self._keeper is None:
            return
        if self._zygote is not None:
            self._zygote.kill()
        else:
            self._keeper.cancel()
        await asyncio.gather(self._keeper, return_exceptions=True)

    async def ready(self) -> dict[str, Any]:
        """Wait until the zygote has its imports; facts: ready_ms, threads, missing modules."""
        zygote = self._zygote
        if zygote is None:
            return {}
        await zygote.settled.wait()
        return zygote.facts

    async def launch(self) -> tuple[int, socket.socket]:
        """Start a child; returns its pid and the node's end of its socket. Raises OSError."""
        if self._zygote is not None:
            try:
                return await self._fork(self._zygote)
            except ForkRefused as refusal:
                log.warning("a child gets a fresh interpreter, which is slow: %s", refusal)
        if self._stopping:
            raise OSError(errno.ECANCELED, "the node stops")
        ours, theirs = socket.socketpair()
        with theirs:
            process = spawn("modelmora.workers.child", theirs, devices=self._devices)
        self.fresh_starts += 1
        self._fresh[process.pid] = process
        self.sessions.add(process.pid)
        return process.pid, ours

    def ended(self, pid: int, code: int | None) -> None:
        """A child was reaped."""
        process = self._fresh.pop(pid, None)
        if process is not None:
            process.returncode = _known(code)
        self._on_orphans()

    async def _fork(self, zygote: Zygote) -> tuple[int, socket.socket]:
        # A pair of its own: a child whose fork was never confirmed must find its socket closed.
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                pid = await zygote.fork(theirs, self._devices)
        except BaseException:
            ours.close()
            raise
        self.forked += 1
        return pid, ours

    def _start_zygote(self) -> None:
        self._zygote = Zygote(self._modules)
        self.zygote_starts += 1
        self.sessions.add(self._zygote.pid)
        self._on_zygote(self._zygote.pid)

    async def _keep_zygote(self) -> None:
        """Start another when one ends; sooner if the last one had become ready."""
        pause = FIRST_PAUSE_S
        while self._zygote is not None:
            zygote = self._zygote
            code = await zygote.wait()
            self._zygote = None
            self._on_zygote(None)
            self._on_orphans()
            if self._stopping:
                return
            pause = FIRST_PAUSE_S if zygote.facts else min(pause * 2, LONGEST_PAUSE_S)
            log.warning("the zygote ended with %s; another starts in %.2f s", code, pause)
            await asyncio.sleep(pause)
            self._start_zygote()


def _known(code: int | None) -> int:
    """What Popen is told, so that it does not wait for a process that is reaped already."""
    return -signal.SIGKILL if code is None else code
