"""An instance of our own for a while: started in a folder, asked, stopped with all its parts."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

from confluent_kafka import Producer

from modelmora.broker.tether import tethered
from modelmora.errors import ModelMoraError
from modelmora.host.face import BUSY, DONE
from modelmora.host.runfile import RunInfo, read_run
from modelmora.kafka.connection import confluent_config
from modelmora.kafka.reading.shown import Reader
from modelmora.kafka.topics import Topic
from modelmora.messages import InferenceResult, ProgressEvent
from modelmora.settings import CONFIG_VARIABLE, PREFIX, Settings, variable_of
from modelmora.surroundings import interpreter
from modelmora.wire import decode_progress, decode_result

READY_S = 180.0
ANSWER_S = 120.0
STOP_S = 60.0
LOOK_S = 0.05
PORTS = ("--broker-port", "--http-port", "--grpc-port", "--node-http-port")


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """The variables for the instance: none of ModelMora's, which speak of the user's own."""
    return {name: value for name, value in given.items() if not name.startswith(PREFIX)}


@contextlib.contextmanager
def ending_as_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP end this program as Ctrl-C does, so that it cleans up after itself."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    ours = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in ours}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Showcase:
    """`serve --role all` on free ports, its data and log in a folder.

    Should we be killed, the instance is killed with us.
    """

    def __init__(self, folder: Path, *flags: str) -> None:
        self.log_path = folder / "serve.log"
        self.data = folder / "data"
        self._config = folder / "modelmora.yaml"
        self._flags = flags
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, tell: Callable[[str], None] = lambda _line: None) -> RunInfo:
        """Start and wait until it is ready; where it may be found. Its phases are told.

        Raises ModelMoraError with its own words when it ends or takes too long. `stop` comes
        after it in any case.
        """
        process = self._process = self._spawn()
        until = time.monotonic() + READY_S
        told = 0
        while time.monotonic() < until:
            told = self._tell_phases(told, tell)
            if info := read_run(self.data):
                self._tell_phases(told, tell)
                return info
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(LOOK_S)
                raise ModelMoraError(f"the instance ended with code {code}: {self._last_words()}")
        raise ModelMoraError(f"the instance was not ready in {READY_S:.0f} s: {self._last_words()}")

    def _spawn(self) -> subprocess.Popen[bytes]:
        # An empty file in place of the user's own settings.
        self._config.touch()
        command = [*interpreter("modelmora.cli"), "serve", "--data-dir", str(self.data)]
        for port in PORTS:
            command += [port, "0"]
        with self.log_path.open("wb") as log:
            return subprocess.Popen(
                tethered([*command, *self._flags]),
                # Temporary files of its libraries go away with the folder.
                env=environment(os.environ)
                | {
                    CONFIG_VARIABLE: str(self._config),
                    # Its phases are shown to a person.
                    variable_of(("log", "format")): "console",
                    # It shows how many records there are of what was asked.
                    variable_of(("timing", "probe_s")): "0",
                    "TMPDIR": str(self._config.parent),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C at the terminal is for us; we stop the instance in order.
                start_new_session=True,
            )

    def _tell_phases(self, told: int, tell: Callable[[str], None]) -> int:
        """Pass on what `serve` has shown since; how many lines that makes."""
        lines = self.log_path.read_text("utf-8", "replace").split("\n")[:-1]
        for line in lines[told:]:
            if line.startswith((DONE, BUSY)):
                tell(f"  {line}")
        return len(lines)

    def _last_words(self) -> str:
        """Its own error line, else the last one of its log."""
        lines = self.log_path.read_text("utf-8", "replace").splitlines()
        told = [line.removeprefix("modelmora: ") for line in lines if line.startswith("modelmora:")]
        return (told or lines or ["it said nothing"])[-1][:500]

    def stop(self) -> None:
        """SIGTERM, and SIGKILL when it has not ended in time; a second Ctrl-C waits for that."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
                return
            process.kill()
            process.wait()
        finally:
            signal.signal(signal.SIGINT, before)


class Asker:
    """Plays the foreign producer and consumer: requests in by confluent-kafka, results out.

    `told` is given all of `progress` that is there before the last answer.
    """

    def __init__(
        self,
        settings: Settings,
        reader: Reader,
        told: Callable[[ProgressEvent], object] | None = None,
    ) -> None:
        self._settings = settings
        self._told = told
        self._producer = Producer(
            confluent_config(settings) | {"partitioner": "murmur2_random", "linger.ms": 0}
        )
        self._progress = Topic.PROGRESS.full(settings.namespace)
        topics = [Topic.RESULTS.full(settings.namespace), *([self._progress] if told else [])]
        self._coming = reader.follow(reader.ends(reader.places(*topics)))
        # Ask for the first record now: from here on no answer can be missed.
        next(self._coming)

    def send(self, values: Sequence[bytes], key: str) -> None:
        """Write requests to the normal lane and wait for the broker's word."""
        topic = Topic.NORMAL.full(self._settings.namespace)
        for value in values:
            self._producer.produce(topic, value, key.encode())
        self._producer.flush(ANSWER_S)

    def answers(self, request_ids: Sequence[str]) -> dict[str, InferenceResult]:
        """The outcomes of these requests. Raises ModelMoraError when they do not come."""
        wanted = set(request_ids)
        found: dict[str, InferenceResult] = {}
        until = time.monotonic() + ANSWER_S
        for record in self._coming:
            if record and self._told and record.topic == self._progress:
                self._told(decode_progress(record.plain))
            elif record:
                result = decode_result(record.plain)
                if result.request_id in wanted:
                    found.setdefault(result.request_id, result)
            # What was told before the answer lies there by now: it comes before the first quiet.
            if len(found) == len(wanted) and (record is None or not self._told):
                return found
            if time.monotonic() > until:
                break
        raise ModelMoraError(
            f"{len(wanted) - len(found)} of {len(wanted)} answers did not come in {ANSWER_S:.0f} s"
        )


def counts(reader: Reader, settings: Settings) -> dict[str, int]:
    """Records per topic, by short name."""
    totals = {}
    for topic in Topic:
        places = reader.places(topic.full(settings.namespace))
        bounds = [reader.bounds(place) for place in places]
        totals[str(topic)] = sum(high - low for low, high in bounds)
    return totals
