"""`modelmora serve`: the folder, the plan, the parts, and the file by which others find us."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelmora.access.own import own_of
from modelmora.broker import EmbeddedBroker
from modelmora.errors import ModelMoraError
from modelmora.host.environment import child_environment, write_empty_config
from modelmora.host.face import SILENT, Face, Logged
from modelmora.host.folder import DataFolder, writing
from modelmora.host.instance import accepts, call
from modelmora.host.logfile import log_file, log_folder, rotate
from modelmora.host.parts import BrokerPart, Part, Program
from modelmora.host.plan import Commands, Plan, make_plan
from modelmora.host.runfile import PROCESSES, RunInfo, remove_run, write_run
from modelmora.host.supervisor import Supervisor
from modelmora.settings import Settings
from modelmora.telemetry.logs import configure, form
from modelmora.telemetry.notify import Fact

log = logging.getLogger(__name__)
SLOW_S = 5.0
LOOK_S = 10.0
MODELS_S = 2.0


def run_serve(settings: Settings, config: Path | None, face: Face | None = None) -> int:
    """`serve` with a loop of its own, and with its log in the data folder too."""
    folder = settings.data_dir.absolute()
    if settings.log.file is None and settings.log.file_bytes:
        with writing(folder):
            log_folder(folder).mkdir(parents=True, exist_ok=True)
        log_settings = settings.log.model_copy(update={"file": log_file(folder)})
        settings = settings.model_copy(update={"log": log_settings})
    configure(settings.log, "serve")
    shown = Logged() if form(settings.log, sys.stderr) == "json" else Face()
    return asyncio.run(serve(settings, config=config, face=face or shown))


async def serve(
    settings: Settings,
    *,
    config: Path | None = None,
    face: Face = SILENT,
    commands: Commands | None = None,
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
        code = await _Machine(folder, plan, face, config).run(commands or Commands())
        face.ended(folder.path)
        return code
    finally:
        remove_run(folder.path)
        folder.close()


class _Machine:
    """Starts the parts of a plan and keeps run.json true."""

    def __init__(self, folder: DataFolder, plan: Plan, face: Face, config: Path | None) -> None:
        self._folder = folder
        self._settings = plan.settings.model_copy(update={"data_dir": folder.path})
        self._plan = plan
        self._face = face
        self._config = config
        self._began = time.monotonic()
        self._seen_ready: set[str] = set()
        self._written: RunInfo | None = None
        self._starting: dict[str, float] = {}
        self._supervisor: Supervisor | None = None
        self._watching: asyncio.Task[None] | None = None
        self._showing: asyncio.Task[None] | None = None

    async def run(self, commands: Commands) -> int:
        parts: list[Part] = []
        if self._plan.own_broker:
            parts.append(BrokerPart(self._broker()))
        empty = write_empty_config(self._folder.path)
        environment = child_environment(self._settings, os.environ, empty)
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
        self._supervisor = Supervisor(
            parts, changed=self._changed, stop_s=self._settings.timing.stop_s, face=self._face
        )
        self._watching = asyncio.create_task(self._watch(), name="watch")
        try:
            return await self._supervisor.run()
        finally:
            for task in (self._watching, self._showing):
                if task:
                    task.cancel()

    def _broker(self) -> EmbeddedBroker:
        return EmbeddedBroker(
            self._folder.path,
            self._settings.broker_port,
            progress=self._face.preparing,
            on_spawn=lambda pid: self._folder.record("broker", pid),
        )

    async def _watch(self) -> None:
        """Name what is slow to start, then keep the log at its size."""
        while not self._written:
            await asyncio.sleep(SLOW_S)
            await self._tell_slow()
        while file := self._settings.log.file:
            await asyncio.to_thread(rotate, file, self._settings.log.file_bytes)
            await asyncio.sleep(LOOK_S)

    async def _tell_slow(self) -> None:
        if self._written or (self._supervisor and self._supervisor.stopping):
            return
        late = [part.name for part in self._parts() if not part.ready]
        servers = str(self._settings.bootstrap_servers)
        # A broker of our own is among those that start.
        answers = self._plan.own_broker or await asyncio.to_thread(accepts, servers)
        since_s = time.monotonic() - self._began
        if not answers:
            self._face.away(servers, since_s)
        elif late:
            self._face.slow(late, since_s)

    def _parts(self) -> tuple[Part, ...]:
        return self._supervisor.parts if self._supervisor else ()

    def _facts(self) -> dict[str, Fact]:
        return {name: fact for part in self._parts() for name, fact in part.facts.items()}

    def _changed(self) -> None:
        """Write run.json when all parts are ready for the first time, and with all news since.

        Without the folder nothing is started again: a broker that begins anew has lost its topics.
        """
        if self._supervisor and self._folder.gone():
            told = f"the data folder {self._folder.path} was removed while it was in use"
            self._supervisor.fail(ModelMoraError(told))
            return
        for part in self._parts():
            if part.ready and part.name not in self._seen_ready:
                self._seen_ready.add(part.name)
                self._face.phase(part.name, time.monotonic() - self._began)
        if not self._written and not all(part.ready for part in self._parts()):
            return
        info = self._info(self._parts())
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
            self._showing = asyncio.create_task(self._show(info), name="show")

    async def _show(self, info: RunInfo) -> None:
        models = await asyncio.to_thread(models_of, info, self._settings)
        self._face.ready(self._settings, info, models)

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
            inode=self._folder.inode,
            log=str(file.absolute()) if (file := self._settings.log.file) else None,
        )

    def _address(self, door: str, facts: Mapping[str, Fact]) -> str | None:
        """Where a part listens; while it is starting again, where it did, for it will."""
        fact = facts.get(door)
        if fact is not None:
            return str(fact)
        former: str | None = getattr(self._written, door, None)
        return former


def models_of(info: RunInfo, settings: Settings) -> list[dict[str, Any]]:
    """The models of the node with their states; none where it does not say."""
    if info.node_http is None:
        return []
    try:
        own = own_of(settings, here=True)
        rows: list[dict[str, Any]] = call(
            "GET", f"{info.node_http}/health/models", timeout_s=MODELS_S, own=own
        )
    except ModelMoraError:
        return []
    return rows
