"""`serve` with a real broker and small programs in the place of node and gateway."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from modelmora.host.runfile import RunInfo, read_run
from tests.programs import ROOT, alive, eventually, program

CAP_S = 60.0
PORTS = ("HTTP_PORT", "GRPC_PORT", "NODE_HTTP_PORT")


class Serving:
    """One instance in a process of its own."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        ours = {f"MODELMORA_{name}": "0" for name in PORTS}
        self.process = subprocess.Popen(
            program("serve"),
            cwd=ROOT,
            env={**os.environ, **ours, "MODELMORA_DATA_DIR": str(data_dir)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        self.first = RunInfo(**json.loads(self.process.stdout.readline()))

    def pid(self, name: str) -> int:
        info = read_run(self.data_dir)
        assert info
        pid = info.processes[name]
        assert pid
        return pid

    def killed(self, name: str) -> RunInfo:
        """Kill -9 a part; what run.json says once it is back."""
        former = self.pid(name)
        os.kill(former, signal.SIGKILL)

        def back() -> RunInfo | None:
            info = read_run(self.data_dir)
            return info if info and info.processes[name] != former else None

        info = eventually(back, f"the {name} is back")
        assert info
        return info

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(CAP_S)


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    instance = Serving(tmp_path)
    yield instance
    instance.process.kill()
    instance.process.communicate()


def test_parts_come_back_where_they_were(serving: Serving) -> None:
    first = serving.first
    admin = AdminClient({"bootstrap.servers": first.bootstrap_servers})
    admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result(CAP_S)
    addresses = (first.bootstrap_servers, first.http, first.grpc, first.node_http)
    before = dict(first.processes)
    after = serving.killed("broker")
    assert (after.bootstrap_servers, after.http, after.grpc, after.node_http) == addresses
    # Neither node nor gateway was restarted because the broker was away.
    assert {name: after.processes[name] for name in ("node", "gateway")} == {
        name: before[name] for name in ("node", "gateway")
    }
    assert "kept" in admin.list_topics(timeout=CAP_S).topics
    for name in ("node", "gateway"):
        after = serving.killed(name)
        assert (after.bootstrap_servers, after.http, after.grpc, after.node_http) == addresses
    last = [pid for pid in after.processes.values() if pid]
    assert serving.end(signal.SIGTERM) == 0
    assert not any(alive(pid) for pid in last)
    assert not (serving.data_dir / "run.json").exists()


def test_kill_9_takes_all_down_and_the_next_start_works(serving: Serving) -> None:
    pids = [pid for pid in serving.first.processes.values() if pid]
    assert len(pids) == 4
    servers = serving.first.bootstrap_servers
    serving.process.kill()
    serving.process.wait()
    eventually(lambda: not any(alive(pid) for pid in pids), "all parts are dead")
    assert read_run(serving.data_dir) is None
    again = Serving(serving.data_dir)
    try:
        assert again.first.bootstrap_servers == servers
        assert again.end(signal.SIGINT) == 130
    finally:
        again.process.kill()
        again.process.communicate()
