"""The node's end of a zygote: forks asked for and answered, its end, and whether it still lives."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from modelmora.errors import ModelMoraError
from modelmora.settings import Runtime
from modelmora.surroundings import interpreter
from modelmora.workers.environment import worker_environment
from modelmora.workers.exits import wait_exit

CHILD, ZYGOTE = "modelmora.workers.child", "modelmora.workers.child.zygote"
DATAGRAM = 64 << 10
PING_S = 5.0
# Pings left unanswered in a row until a zygote counts as frozen: half a minute, and five of them
# while it imports and cannot answer. Counted, not timed: a node that was stopped itself, and its
# zygote with it, must not take its own sleep for the zygote's.
SILENT_PINGS, SILENT_IMPORT_PINGS = 6, 60
log = logging.getLogger(__name__)


class ForkRefused(ModelMoraError):
    """The zygote cannot fork a child now."""


class ZygoteEnded(ForkRefused):
    """Nor ever again; the next one may."""


class Spawned(NamedTuple):
    """A zygote that nobody looks after yet."""

    process: subprocess.Popen[bytes]
    socket: socket.socket
    modules: tuple[str, ...]


class Zygote:
    """One zygote process as the node sees it."""

    def __init__(self, spawned: Spawned) -> None:
        self._process, self._socket, _ = spawned
        self._socket.setblocking(False)
        self._answers: dict[int, asyncio.Future[int]] = {}
        self._token = 0
        self._loop = asyncio.get_running_loop()
        self.facts: dict[str, Any] = {}
        self.settled = asyncio.Event()  # ready, or gone
        self._heard = False
        self._silent = 0
        self.pid = self._process.pid
        self._loop.add_reader(self._socket.fileno(), self._receive)

    @property
    def pending(self) -> int:
        """Forks that are asked for and not answered."""
        return len(self._answers)

    @property
    def silent_s(self) -> float:
        """For how long it has left pings unanswered; 0 while it imports and cannot answer."""
        return self._silent * PING_S if self.facts else 0.0

    async def fork(self, child: socket.socket, devices: str) -> int:
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
            raise ZygoteEnded(f"the zygote does not listen: {error.strerror}") from None
        finally:
            del self._answers[token]

    async def wait(self) -> int | None:
        """Wait for its end, then refuse what was asked of it; returns the exit code.

        One that does not answer for long is killed.
        """
        watch = asyncio.create_task(self._kill_frozen())
        try:
            code = await wait_exit(self.pid)
        finally:
            watch.cancel()
        self._process.returncode = known(code)
        self._receive()
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ZygoteEnded("the zygote ended"))
        self.settled.set()
        return code

    def retire(self) -> None:
        """Let it answer what it was asked, then end; children go on."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def kill(self) -> None:
        """SIGKILL, unless it has ended; children go on."""
        if self._process.returncode is None:
            os.kill(self.pid, signal.SIGKILL)

    async def _kill_frozen(self) -> None:
        while self._silent < (SILENT_PINGS if self.facts else SILENT_IMPORT_PINGS):
            with contextlib.suppress(OSError):
                self._socket.send(b'{"ping": true}')
            await asyncio.sleep(PING_S)
            self._silent = 0 if self._heard else self._silent + 1
            self._heard = False
        log.warning("zygote %d does not answer and is killed", self.pid)
        self.kill()

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
        self._heard, self._silent = True, 0
        if "ready" in message:
            self.facts = message["ready"]
            self.settled.set()
        elif "token" in message:
            self._answered(message)

    def _answered(self, message: dict[str, Any]) -> None:
        answer = self._answers.get(message["token"])
        if answer is None or answer.done():
            return
        if "pid" in message:
            answer.set_result(message["pid"])
        else:
            answer.set_exception(ForkRefused(message["refused"]))


def spawn_zygote(modules: Iterable[str]) -> Spawned:
    """Start a zygote that imports these; on the main thread, for it dies with its starter's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    wanted = tuple(dict.fromkeys(modules))
    with theirs:
        process = _spawn(interpreter(ZYGOTE), theirs, worker_environment(), "", *wanted)
        return Spawned(process, ours, wanted)


def spawn_child(
    sock: socket.socket, runtime: Runtime | None, devices: str
) -> subprocess.Popen[bytes]:
    """Start a child that was not forked: in our Python, in another one, or a program of its own.

    Raises OSError.
    """
    program = interpreter(CHILD)
    if isinstance(runtime, Path):
        program = (str(runtime), *program[1:])
    elif runtime:
        program = runtime
    environment = worker_environment()
    if runtime:
        for ours in ("PYTHONHOME", "PYTHONPATH"):  # our own Python's library and packages
            environment.pop(ours, None)
    return _spawn(program, sock, environment, devices)


def _spawn(
    program: Sequence[str],
    sock: socket.socket,
    environment: Mapping[str, str],
    devices: str,
    *arguments: str,
) -> subprocess.Popen[bytes]:
    """Run a program with a socket, in a session of its own, so Ctrl-C is the node's."""
    fd = sock.fileno()
    return subprocess.Popen(
        [*program, str(fd), str(os.getpid()), *arguments],
        pass_fds=[fd],
        env={**environment, "CUDA_VISIBLE_DEVICES": devices},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def known(code: int | None) -> int:
    """What Popen is told, so that it does not wait for a process that is reaped already."""
    return -signal.SIGKILL if code is None else code
