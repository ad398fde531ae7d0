"""What the supervisor keeps running: a broker, and programs that report by pipe."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from modelmora.broker import EmbeddedBroker
from modelmora.broker.tether import tethered
from modelmora.host.policy import Exit
from modelmora.settings import NOTIFY_VARIABLE
from modelmora.telemetry.notify import Fact

Changed = Callable[[], None]
LAST_WORDS_S = 0.5


class Part(Protocol):
    """One process kept running; all of it is used from the loop's thread only."""

    name: str
    waits_for_broker: bool  # is started only when our own broker is ready
    ready: bool
    facts: dict[str, Fact]

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""

    async def run(self, changed: Changed) -> Exit:
        """Start it and wait for its end; `changed` is called when it gets ready or says more.

        Raises ModelMoraError when it cannot be started, with the reason for people.
        """

    async def stop(self, timeout_s: float) -> None:
        """End it if it runs: ask, and kill it when it has not ended in time."""

    def kill(self) -> None:
        """End it at once."""


class Program:
    """A program of ours that reports on the pipe named by `MODELMORA_NOTIFY_FD`."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        on_spawn: Callable[[str, int], None],
        *,
        waits_for_broker: bool,
    ) -> None:
        self.name = name
        self.waits_for_broker = waits_for_broker
        self.ready = False
        self.facts: dict[str, Fact] = {}
        self._command = tuple(command)
        self._environment = environment
        self._on_spawn = on_spawn
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The program's process id while it runs."""
        return self._process.pid if self._process else None

    async def run(self, changed: Changed) -> Exit:
        """Start the program and wait for its end; its output goes where ours goes."""
        began = time.monotonic()
        self.facts = {}
        reading, writing = os.pipe()
        try:
            process = await self._spawn(writing)
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        listening = asyncio.create_task(self._listen(reading, changed))
        try:
            code = await process.wait()
        finally:
            # What it said last is still in the pipe; a grandchild may hold that open for ever.
            await asyncio.wait((listening,), timeout=LAST_WORDS_S)
            listening.cancel()
            await asyncio.wait((listening,))
            ready, self.ready, self._process = self.ready, False, None
        return Exit(code, ready, time.monotonic() - began)

    async def _spawn(self, writing: int) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *tethered(self._command),
            env={**self._environment, NOTIFY_VARIABLE: str(writing)},
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=(writing,),
            start_new_session=True,
        )
        self._process = process
        self._on_spawn(self.name, process.pid)
        return process

    async def _listen(self, reading: int, changed: Changed) -> None:
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb", 0)
        )
        try:
            while line := await reader.readline():
                self._hear(line)
                changed()
        finally:
            transport.close()

    def _hear(self, line: bytes) -> None:
        with contextlib.suppress(ValueError):
            facts = json.loads(line)
            if isinstance(facts, dict):
                self.facts |= facts
                self.ready = self.facts.get("ready") is True
                zygote = self.facts.get("zygote")
                if isinstance(zygote, int):
                    self._on_spawn("zygote", zygote)

    async def stop(self, timeout_s: float) -> None:
        """SIGTERM, and SIGKILL after `timeout_s`."""
        process = self._process
        if process is None:
            return
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), timeout_s)
        except TimeoutError:
            self.kill()
            await process.wait()

    def kill(self) -> None:
        """SIGKILL."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


class BrokerPart:
    """The embedded broker; ready when it answers."""

    name = "broker"
    waits_for_broker = False

    def __init__(self, broker: EmbeddedBroker) -> None:
        self.ready = False
        self.facts: dict[str, Fact] = {}
        self._broker = broker

    @property
    def pid(self) -> int | None:
        """The JVM's process id while it runs."""
        return self._broker.pid

    async def run(self, changed: Changed) -> Exit:
        """Start the broker and wait for its end."""
        began = time.monotonic()
        try:
            await self._broker.start_async()
            self.ready = True
            changed()
            code = await asyncio.to_thread(self._broker.wait)
            return Exit(code or 0, ready=True, lived_s=time.monotonic() - began)
        finally:
            self.ready = False

    async def stop(self, timeout_s: float) -> None:
        """SIGTERM, and SIGKILL after `timeout_s`."""
        await self._broker.stop_async(timeout_s)

    def kill(self) -> None:
        """SIGKILL."""
        self._broker.kill()
