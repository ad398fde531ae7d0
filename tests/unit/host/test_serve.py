"""The supervisor with small programs in the place of node and gateway, and no broker."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from modelmora.errors import ModelMoraError
from modelmora.host import supervisor
from modelmora.host.face import Face
from modelmora.host.plan import Commands
from modelmora.host.runfile import RunInfo, read_run
from modelmora.host.serve import serve
from modelmora.host.supervisor import Supervisor
from modelmora.settings import LogSettings, Settings, Timing
from tests.measuring import CHILDREN
from tests.programs import COMMANDS, alive, eventually, program

CAP_S = 60


def settings(data_dir: Path, **given: Any) -> Settings:
    ports = {"http_port": 0, "grpc_port": 0, "node_http_port": 0}
    chosen = {"bootstrap_servers": "127.0.0.1:1", **ports, **given}
    return Settings(data_dir=data_dir, **chosen)


class Shown(Face):
    """Tells when the instance is ready, and keeps what a person sees."""

    def __init__(self, on_ready: Callable[[RunInfo], None]) -> None:
        self.lines: list[str] = []
        self._on_ready = on_ready

    def ready(self, settings: Settings, info: RunInfo, models: Sequence[Mapping[str, Any]]) -> None:
        super().ready(settings, info, models)
        self._on_ready(info)

    def _show(self, *lines: str) -> None:
        self.lines += lines


class Instance:
    """`serve` as a task of this test."""

    def __init__(self, settings: Settings, commands: Commands = COMMANDS) -> None:
        self.settings = settings
        self._ready: asyncio.Future[RunInfo] = asyncio.get_running_loop().create_future()
        self.face = Shown(self._ready.set_result)
        self.task = asyncio.create_task(serve(settings, face=self.face, commands=commands))

    async def ready(self) -> RunInfo:
        await asyncio.wait(
            (self._ready, self.task), timeout=CAP_S, return_when=asyncio.FIRST_COMPLETED
        )
        if self.task.done():
            self.task.result()
        return self._ready.result()

    async def changed(self, former: RunInfo) -> RunInfo:
        def look() -> RunInfo | None:
            now = read_run(self.settings.data_dir)
            return now if now != former else None

        now = await asyncio.to_thread(eventually, look, "run.json says something new")
        assert now
        return now

    async def ended(self) -> int:
        return await asyncio.wait_for(self.task, CAP_S)


def contents(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def pids(info: RunInfo) -> list[int]:
    return [pid for pid in info.processes.values() if pid is not None]


@pytest.fixture(autouse=True)
def untraced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small programs run next to nothing of ours."""
    monkeypatch.delenv(CHILDREN, raising=False)


async def test_ready_found_and_stopped(tmp_path: Path) -> None:
    logged = LogSettings(file=tmp_path / "a.log")
    instance = Instance(settings(tmp_path, log=logged))
    info = await instance.ready()
    assert read_run(tmp_path) == info
    assert info.log == str(tmp_path / "a.log")
    assert info.pid == os.getpid()
    assert info.processes["broker"] is None
    assert info.processes["zygote"] == info.processes["node"]
    assert info.http
    assert info.http.startswith("http://127.0.0.1:")
    os.kill(os.getpid(), signal.SIGTERM)
    assert await instance.ended() == 0
    assert not any(alive(pid) for pid in pids(info))
    assert not (tmp_path / "run.json").exists()
    assert not (tmp_path / "host.json").exists()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGHUP, 0), (signal.SIGQUIT, 0)]
)
async def test_every_signal_to_end_drains_and_says_so(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    instance = Instance(settings(tmp_path))
    await instance.ready()
    os.kill(os.getpid(), number)
    assert await instance.ended() == code
    told = instance.face.lines[-4:]
    assert told[0].startswith(f"stopping ({number.name}): started work may finish, for up to 45 s")
    assert [line.partition(",")[0] for line in told[1:3]] == [
        "✓ gateway stopped",
        "✓ node stopped",
    ]
    assert told[3] == f"stopped; models, topics and logs stay in {tmp_path}"


async def test_signals_at_once_are_one_and_a_later_one_hurries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    face = Shown(lambda _: None)
    asked = Supervisor((), changed=lambda: None, stop_s=1, face=face)
    for once_s in (60, 60, -1):
        monkeypatch.setattr(supervisor, "ONCE_S", once_s)
        asked._told(signal.SIGTERM)
    assert [line.partition(" (")[0] for line in face.lines] == ["stopping", "stopping at once"]


@pytest.mark.parametrize(("role", "other"), [("node", "gateway"), ("gateway", "node")])
async def test_one_role(tmp_path: Path, role: str, other: str) -> None:
    instance = Instance(settings(tmp_path, role=role))
    info = await instance.ready()
    assert info.processes[role]
    assert info.processes[other] is None
    assert (info.http is None) == (role == "node")
    assert (info.node_http is None) == (role == "gateway")
    os.kill(os.getpid(), signal.SIGTERM)
    assert await instance.ended() == 0


@pytest.mark.parametrize("role", ["node", "gateway"])
async def test_a_cluster_that_does_not_answer_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    monkeypatch.setitem(serve.__globals__, "SLOW_S", 0.05)
    silent = program("silent")
    instance = Instance(settings(tmp_path, role=role), Commands(silent, silent))
    told = "… no broker answers at 127.0.0.1:1 yet ("

    def named() -> bool:
        return any(line.startswith(told) for line in instance.face.lines)

    await asyncio.to_thread(eventually, named, "what it waits for is named")
    os.kill(os.getpid(), signal.SIGTERM)
    await instance.ended()


async def test_a_killed_part_comes_back_on_its_ports_alone(tmp_path: Path) -> None:
    instance = Instance(settings(tmp_path))
    before = await instance.ready()
    gateway = before.processes["gateway"]
    assert gateway
    os.kill(gateway, signal.SIGKILL)
    after = await instance.changed(before)
    assert after.processes["gateway"] != gateway
    assert after.processes["node"] == before.processes["node"]
    assert (after.http, after.grpc) == (before.http, before.grpc)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await instance.ended() == 0


@pytest.mark.parametrize("code", [2, 4])
async def test_a_node_that_says_why_is_passed_on(
    tmp_path: Path, code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    commands = Commands(node=program("refusing", str(code)), gateway=COMMANDS.gateway)
    assert await Instance(settings(tmp_path), commands).ended() == code
    assert capfd.readouterr().err == f"refusing with {code}\n"


async def test_gives_up_on_a_part_that_never_gets_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelmora.host.policy.FIRST_PAUSE_S", 0.001)
    commands = Commands(node=("sh", "-c", "exit 1"), gateway=COMMANDS.gateway)
    with pytest.raises(ModelMoraError, match="the node died 10 times in a row") as caught:
        await Instance(settings(tmp_path), commands).ended()
    assert caught.value.exit_code == 1


async def test_a_part_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    stubborn = ("sh", "-c", 'trap "" TERM; exec ' + " ".join(program("gateway")))
    commands = Commands(node=COMMANDS.node, gateway=stubborn)
    instance = Instance(settings(tmp_path, timing=Timing(stop_s=1)), commands)
    info = await instance.ready()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await instance.ended() == 0
    assert not any(alive(pid) for pid in pids(info))


async def test_stopped_before_it_is_ready(tmp_path: Path) -> None:
    commands = Commands(node=program("silent"), gateway=COMMANDS.gateway)
    instance = Instance(settings(tmp_path), commands)

    def started() -> bool:
        recorded = tmp_path / "host.json"
        return recorded.exists() and "gateway" in recorded.read_text()

    await asyncio.to_thread(eventually, started, "both parts are started")
    assert not (tmp_path / "run.json").exists()
    os.kill(os.getpid(), signal.SIGTERM)
    await instance.ended()


async def test_a_folder_that_was_removed_ends_all_and_is_not_begun_anew(tmp_path: Path) -> None:
    instance = Instance(settings(tmp_path / "data"))
    info = await instance.ready()
    shutil.rmtree(tmp_path / "data")
    assert info.processes["node"]
    os.kill(info.processes["node"], signal.SIGKILL)
    with pytest.raises(ModelMoraError, match="was removed while it was in use"):
        await instance.ended()
    assert not any(alive(pid) for pid in pids(info))


async def test_what_stops_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(serve.__globals__, "SLOW_S", 0.05)
    stubborn = ("sh", "-c", 'trap "" TERM; exec ' + " ".join(program("silent")))
    chosen = settings(tmp_path, timing=Timing(stop_s=2), role="node")
    instance = Instance(chosen, Commands(node=stubborn))
    lines = instance.face.lines
    await asyncio.to_thread(eventually, lambda: lines and lines[-1][0] == "…", "it is slow")
    os.kill(os.getpid(), signal.SIGTERM)
    await instance.ended()
    stopping = next(n for n, line in enumerate(lines) if line.startswith("stopping"))
    assert not [line for line in lines[stopping:] if line[0] == "…"]


async def test_a_second_instance_is_refused(tmp_path: Path) -> None:
    instance = Instance(settings(tmp_path))
    info = await instance.ready()
    with pytest.raises(ModelMoraError, match="in use by process") as caught:
        await Instance(settings(tmp_path)).ended()
    assert caught.value.exit_code == 2
    assert read_run(tmp_path) == info
    os.kill(os.getpid(), signal.SIGTERM)
    assert await instance.ended() == 0


async def test_secrets_are_in_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELMORA_KAFKA__SASL_PASSWORD", "hunter2")
    instance = Instance(settings(tmp_path))
    await instance.ready()
    written = contents(tmp_path)
    assert written
    assert b"hunter2" not in written
    os.kill(os.getpid(), signal.SIGTERM)
    assert await instance.ended() == 0
