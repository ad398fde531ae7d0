"""Nodes and gateways as processes of their own, for tests that watch, stop and kill them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from confluent_kafka import Consumer, Message, TopicPartition

from modelmora.messages import InferenceResult, LifecycleEvent, Source
from modelmora.wire import decode_event, decode_result
from tests.checker.reading import arrived
from tests.facts import faults
from tests.programs import ROOT, eventually

READY_S = 120.0
PARTITIONS = 4
SESSION_S = 6
FOREIGN = "MODELMORA_"
# With a model configured the packaged one is not served, and nothing slow is imported for it.
ECHO = json.dumps([{"name": "echo", "task": "echo", "source": "builtin:echo"}])


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """SIGSTOP; SIGCONT at the end, whatever happens."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


class Program:
    """`python -m <module>` as a process; its log lies in `<folder>/<name>.log`.

    `settings` are variables without their prefix. It can be started again after it has ended.
    """

    module = ""
    cwd = ROOT

    def __init__(self, folder: Path, name: str, settings: Mapping[str, object]) -> None:
        others = {key: text for key, text in os.environ.items() if not key.startswith(FOREIGN)}
        own = {FOREIGN + key: str(value) for key, value in settings.items()}
        self._environment = others | own
        self.log = folder / f"{name}.log"
        self.facts: dict[str, Any] = {}
        self._logged = 0
        self._ready = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._listener: threading.Thread | None = None

    def start(self) -> Self:
        """Start it; `wait_ready` waits."""
        reading, writing = os.pipe()
        self._ready.clear()
        self.facts = {}
        with self.log.open("ab") as log:
            self._logged = log.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-m", self.module],
                env=self._environment | {"MODELMORA_NOTIFY_FD": str(writing)},
                cwd=self.cwd,
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

    def ready(self, within_s: float) -> bool:
        """Whether it serves, now or soon."""
        return self._ready.wait(within_s)

    def wait_ready(self, cap_s: float = READY_S) -> Self:
        """Wait until it serves."""
        assert self._ready.wait(cap_s), f"{self.log.stem} is not ready:\n{self.tail()}"
        return self

    def forget(self, known: Collection[str]) -> None:
        """Leave out the settings that its release does not know, by their variables."""
        unknown = {key for key in self._environment if key.startswith(FOREIGN)} - {*known}
        for key in unknown:
            del self._environment[key]

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process; it has been started."""
        assert self._process is not None
        return self._process

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

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

    def log_since_start(self) -> str:
        """What it has logged in this life."""
        return self.log.read_text(errors="replace")[self._logged :]

    def __enter__(self) -> Self:
        try:
            return self.start().wait_ready()
        except BaseException:
            self.kill()
            raise

    def __exit__(self, *_: object) -> None:
        if self.running:
            self.kill()


class NodeProcess(Program):
    """A node with the test models."""

    module = "modelmora.node"

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
            "MODELS": ECHO,
            "TOPICS__PARTITIONS": PARTITIONS,
            "NODE_HTTP_PORT": 0,
            "TIMING__SESSION_TIMEOUT_S": SESSION_S,
        }
        super().__init__(folder, name, own | dict(settings or {}))

    @property
    def zygote(self) -> int | None:
        """The zygote's process id."""
        return self.facts.get("zygote")

    def models(self) -> dict[str, dict[str, Any]]:
        """The rows of `/health/models`, by name; empty where nobody answers."""
        return {row["name"]: row for row in self.get("/health/models") or ()}

    def get(self, path: str) -> Any:
        """A JSON answer of the node's own port; None where nobody answers."""
        text = self.text(path)
        return json.loads(text) if text else None

    def text(self, path: str) -> str:
        """An answer of the node's own port; empty where nobody answers."""
        try:
            with urllib.request.urlopen(self.facts["node_http"] + path, timeout=5) as answer:
                return str(answer.read().decode())
        except (OSError, KeyError):
            return ""


class GatewayProcess(Program):
    """A gateway on ports of its choice, which sends no probes unless it is told to."""

    module = "modelmora.gateway"

    def __init__(
        self,
        servers: str,
        namespace: str,
        folder: Path,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        own: dict[str, object] = {
            "BOOTSTRAP_SERVERS": servers,
            "NAMESPACE": namespace,
            "DATA_DIR": folder,
            "TOPICS__PARTITIONS": PARTITIONS,
            "HTTP_PORT": 0,
            "GRPC_PORT": 0,
            "TIMING__PROBE_S": 0,
        }
        super().__init__(folder, "gateway", own | dict(settings or {}))

    def __exit__(self, *raised: object) -> None:
        """Stopped, so that what it did counts as covered; killed where something went wrong."""
        try:
            if self.running and not any(raised):
                assert self.stop() == 0, self.tail()
        finally:
            super().__exit__()

    @property
    def http(self) -> str:
        """The address of its REST door."""
        return str(self.facts["http"])

    @property
    def grpc(self) -> str:
        """The address of its gRPC door."""
        return str(self.facts["grpc"])


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter."""

    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes | None]

    @property
    def code(self) -> str:
        """Why it ended there."""
        return (self.headers["modelmora-error-code"] or b"").decode()

    @property
    def source(self) -> Source:
        """Where the record lay."""
        where = (
            self.headers[f"__connect.errors.{name}"] for name in ("topic", "partition", "offset")
        )
        topic, partition, offset = ((each or b"").decode() for each in where)
        return Source(topic, int(partition), int(offset))


class Observer:
    """Reads a namespace's outcomes and events from the beginning; they stay in its lists."""

    def __init__(self, servers: str, namespace: str) -> None:
        self.results: dict[str, list[InferenceResult]] = {}
        self.letters: dict[Source, list[Letter]] = {}
        self.events: list[LifecycleEvent] = []
        self._takes = {
            f"{namespace}.results": self._take_result,
            f"{namespace}.dead-letters": self._take_letter,
            f"{namespace}.events": self._take_event,
        }
        settings = {"bootstrap.servers": servers, "group.id": "observer", "log_level": 0}
        self._consumer = Consumer(settings | {"enable.auto.commit": False})
        known = self._consumer.list_topics(timeout=30).topics
        self._consumer.assign(
            [TopicPartition(t, p, 0) for t in self._takes for p in known[t].partitions]
        )

    def until(self, seen: Callable[[], bool], what: str) -> None:
        """Read until it is seen."""

        def look() -> bool:
            for message in arrived(self._consumer, 0.2):
                if message.error() is None:
                    self._takes[message.topic()](message)
            return seen()

        eventually(look, what, READY_S)

    def catch_up(self) -> None:
        """Read all that lies there now."""
        mine = self._consumer.assignment()
        ends = [self._consumer.get_watermark_offsets(each, timeout=30)[1] for each in mine]

        def read() -> bool:
            at = self._consumer.position(mine)
            return all(each.offset >= end or not end for each, end in zip(at, ends, strict=True))

        self.until(read, "all that lies there")

    def answers(self, ids: Iterable[str]) -> list[InferenceResult]:
        """One outcome for each id, waited for; fails where one has more."""
        wanted = list(ids)
        self.until(lambda: self.results.keys() >= set(wanted), "every outcome")
        assert all(len(self.results[each]) == 1 for each in wanted)
        return [self.results[each][0] for each in wanted]

    def ended_once(self, ids: Iterable[str]) -> None:
        """Wait for outcomes of these; fails where an id ran twice: then they differ in times."""
        wanted = set(ids)
        self.until(lambda: self.results.keys() >= wanted, "every outcome")
        for each in wanted:
            assert len({(one.run, one.status, one.timings) for one in self.results[each]}) == 1

    def close(self) -> None:
        """Stop reading."""
        self._consumer.close()

    def _take_result(self, message: Message) -> None:
        result = decode_result(message.value())
        self.results.setdefault(result.request_id, []).append(result)

    def _take_letter(self, message: Message) -> None:
        letter = Letter(message.key(), message.value(), dict(message.headers() or ()))
        if "modelmora-replay-of" in letter.headers:
            return  # it says that a letter was replayed
        self.letters.setdefault(letter.source, []).append(letter)

    def _take_event(self, message: Message) -> None:
        event = decode_event(message.value())
        assert faults(event) == []
        self.events.append(event)
