"""`modelmora serve`: the folder, the plan, the parts, and the file by which others find us."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from modelmora.broker import EmbeddedBroker
from modelmora.broker.jars import Progress
from modelmora.host.environment import EMPTY_CONFIG, EMPTY_CONFIG_TEXT, child_environment
from modelmora.host.folder import DataFolder, write_atomically
from modelmora.host.parts import BrokerPart, Part, Program
from modelmora.host.plan import Commands, Plan, make_plan
from modelmora.host.runfile import PROCESSES, RunInfo, remove_run, write_run
from modelmora.host.supervisor import Supervisor
from modelmora.settings import Settings
from modelmora.telemetry.logs import configure
from modelmora.telemetry.notify import Fact

OnReady = Callable[[RunInfo], None]
log = logging.getLogger(__name__)


def run_serve(settings: Settings, *, on_ready: OnReady | None = None) -> int:
    """`serve` with a loop and logs of its own; says the addresses on standard error when ready."""
    configure(settings.log)
    return asyncio.run(serve(settings, on_ready=on_ready or _say, progress=_say_progress))


async def serve(
    settings: Settings,
    *,
    config: Path | None = None,
    on_ready: OnReady | None = None,
    commands: Commands | None = None,
    progress: Progress | None = None,
) -> int:
    """Run the role's parts until a signal to end; returns the exit code (130 for SIGINT, else 0).

    `config` is the file that the settings came from, told to those who look for the instance.

    A node or gateway that refuses its configuration ends everything with its own exit code.
    Raises ModelMoraError, one line each: bad configuration, port taken, folder unusable or in
    use, disk full, broker that does not start, part that keeps dying. To be run in the main
    thread: the parts die with the thread that started them.
    """
    folder = DataFolder(settings.data_dir)
    await asyncio.to_thread(folder.open)
    try:
        remove_run(folder.path)
        plan = make_plan(settings, folder.member_id())
        machine = _Machine(folder, plan, on_ready or (lambda _info: None), config)
        return await machine.run(commands or Commands(), progress)
    finally:
        remove_run(folder.path)
        folder.close()


class _Machine:
    """Starts the parts of a plan and keeps run.json true."""

    def __init__(
        self, folder: DataFolder, plan: Plan, on_ready: OnReady, config: Path | None
    ) -> None:
        self._folder = folder
        self._settings = plan.settings.model_copy(update={"data_dir": folder.path})
        self._plan = plan
        self._on_ready = on_ready
        self._config = config
        self._written: RunInfo | None = None
        self._starting: dict[str, float] = {}
        self._supervisor: Supervisor | None = None

    async def run(self, commands: Commands, progress: Progress | None) -> int:
        parts: list[Part] = []
        if self._plan.own_broker:
            parts.append(BrokerPart(self._broker(progress)))
        config = self._folder.path / EMPTY_CONFIG
        write_atomically(config, EMPTY_CONFIG_TEXT)
        environment = child_environment(self._settings, os.environ, config)
        for name in self._plan.programs:
            command = commands.node if name == "node" else commands.gateway
            parts.append(
                Program(
                    name,
                    command,
                    environment,
                    self._folder.record,
                    # A node has enough to do meanwhile: it imports the model libraries.
                    waits_for_broker=name != "node",
                )
            )
        stop_s = self._settings.timing.stop_s
        self._supervisor = Supervisor(parts, changed=self._changed, stop_s=stop_s)
        return await self._supervisor.run()

    def _broker(self, progress: Progress | None) -> EmbeddedBroker:
        return EmbeddedBroker(
            self._folder.path,
            self._settings.broker_port,
            progress=progress,
            on_spawn=lambda pid: self._folder.record("broker", pid),
        )

    def _facts(self) -> dict[str, Fact]:
        parts = self._supervisor.parts if self._supervisor else ()
        return {name: fact for part in parts for name, fact in part.facts.items()}

    def _changed(self) -> None:
        """Write run.json when all parts are ready for the first time, and with all news since."""
        supervisor = self._supervisor
        if supervisor is None or not (self._written or supervisor.ready):
            return
        info = self._info(supervisor.parts)
        if info == self._written:
            return
        try:
            write_run(self._folder.path, info)
        except OSError as error:
            # A disk that is full now is no reason to stop what runs; the next change tries again.
            log.warning("run.json cannot be written: %s", error.strerror or error)
            return
        first, self._written = self._written is None, info
        if first:
            self._on_ready(info)

    def _info(self, parts: tuple[Part, ...]) -> RunInfo:
        facts = self._facts()
        now = time.time()
        self._starting = {
            part.name: self._starting.get(part.name, now) for part in parts if not part.ready
        }
        zygote = facts.get("zygote")
        pids = {part.name: part.pid for part in parts}
        pids["zygote"] = zygote if isinstance(zygote, int) else None
        return RunInfo(
            bootstrap_servers=str(self._settings.bootstrap_servers),
            http=self._address("http", facts),
            grpc=self._address("grpc", facts),
            node_http=self._address("node_http", facts),
            pid=os.getpid(),
            processes={name: pids.get(name) for name in PROCESSES},
            namespace=self._settings.namespace,
            config=str(self._config.absolute()) if self._config else None,
            started_at=self._written.started_at if self._written else now,
            starting=self._starting,
        )

    def _address(self, door: str, facts: Mapping[str, Fact]) -> str | None:
        """Where a part listens; while it is starting again, where it did, for it will."""
        fact = facts.get(door)
        if fact is not None:
            return str(fact)
        former: str | None = getattr(self._written, door, None)
        return former


def _say(info: RunInfo) -> None:
    doors = {
        "REST": info.http,
        "gRPC": info.grpc,
        "node": info.node_http,
        "Kafka": info.bootstrap_servers,
    }
    lines = [f"  {name:<6} {address}" for name, address in doors.items() if address]
    sys.stderr.write("\n".join(["ModelMora is ready; Ctrl-C stops it.", *lines]) + "\n")
    sys.stderr.flush()


def _say_progress(done: int, total: int) -> None:
    if done % 10 == 0 or done == total:
        sys.stderr.write(f"preparing Kafka, once only: {done} of {total}\n")
        sys.stderr.flush()
