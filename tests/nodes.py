"""A node as a process of its own, for tests that watch it, stop it and kill it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from tests.programs import ROOT

READY_S = 120.0
PARTITIONS = 4
FOREIGN = "MODELMORA_"


class NodeProcess:
    """`python -m modelmora.agents` with the test models; its log lies in `<folder>/<name>.log`.

    `settings` are variables without their prefix. It can be started again after it has ended.
    """

    def __init__(
        self,
        servers: str,
        namespace: str,
        folder: Path,
        name: str = "n1",
        settings: Mapping[str, object] | None = None,
    ) -> None:
        own = {
            "BOOTSTRAP_SERVERS": servers,
            "NAMESPACE": namespace,
            "DATA_DIR": folder,
            "MEMBER_ID": name,
            "TESTING": "true",
            "TOPICS__PARTITIONS": PARTITIONS,
            "NODE_HTTP_PORT": 0,
            "TIMING__SESSION_TIMEOUT_S": 6,
            **(settings or {}),
        }
        others = {key: text for key, text in os.environ.items() if not key.startswith(FOREIGN)}
        self._environment = others | {FOREIGN + key: str(value) for key, value in own.items()}
        self.log = folder / f"{name}.log"
        self.facts: dict[str, Any] = {}
        self._ready = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._listener: threading.Thread | None = None

    def start(self) -> Self:
        """Start it; `wait_ready` waits."""
        reading, writing = os.pipe()
        self._ready.clear()
        self.facts = {}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "modelmora.agents"],
                env=self._environment | {"MODELMORA_NOTIFY_FD": str(writing)},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(writing,),
            )
        os.close(writing)
        self._listener = threading.Thread(target=self._listen, args=(reading,), daemon=True)
        self._listener.start()
        return self

    def _listen(self, reading: int) -> None:
        with os.fdopen(reading) as lines:
            for line in lines:
                self.facts |= json.loads(line)
                if self.facts.get("ready"):
                    self._ready.set()

    def wait_ready(self, cap_s: float = READY_S) -> Self:
        """Wait until it reads requests."""
        assert self._ready.wait(cap_s), f"the node is not ready:\n{self.tail()}"
        return self

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process; it has been started."""
        assert self._process is not None
        return self._process

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def zygote(self) -> int | None:
        """The zygote's process id."""
        return self.facts.get("zygote")

    def models(self) -> dict[str, dict[str, Any]]:
        """The rows of `/health/models`, by name; empty where nobody answers."""
        return {row["name"]: row for row in self.get("/health/models") or ()}

    def get(self, path: str) -> Any:
        """A JSON answer of the node's own port; None where nobody answers."""
        try:
            with urllib.request.urlopen(self.facts["node_http"] + path, timeout=5) as answer:
                return json.load(answer)
        except (OSError, KeyError):
            return None

    def stop(self, cap_s: float = 60) -> int:
        """SIGTERM; the exit code."""
        if self.running:
            self.process.send_signal(signal.SIGTERM)
        return self.wait(cap_s)

    def kill(self) -> int:
        """SIGKILL; the exit code."""
        if self.running:
            self.process.kill()
        return self.wait()

    def wait(self, cap_s: float = 60) -> int:
        """Wait for its end; the exit code."""
        code = self.process.wait(cap_s)
        if self._listener:
            self._listener.join(5)
        return code

    def tail(self, lines: int = 40) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def events(self) -> list[dict[str, Any]]:
        """Its log, decoded."""
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return found

    def __enter__(self) -> Self:
        return self.start().wait_ready()

    def __exit__(self, *_: object) -> None:
        if self.running:
            self.kill()
