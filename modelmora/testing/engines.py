"""The test engines, served only with `testing: true`: echo, sleep, crash, hang and oom.

Crash, hang and oom act on every request, or, where the parameter `marker` is given, only on
requests with a string input that contains it; the others are echoed.
"""

from __future__ import annotations

import mmap
import os
import resource
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from modelmora.engines.base import Engine, Plan, Row, as_batches
from modelmora.messages import Content, InferenceRequest, Parameter

ROWS = 128
SLEEP_MS = 5.0
OOM_HEADROOM = 256 << 20
_BLOCK = 16 << 20


class Echo(Engine):
    """Outputs are the inputs."""

    rows = ROWS

    def load(self, path: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """There is nothing to load."""
        return {}

    def use_threads(self, count: int) -> None:
        """It computes nothing."""

    def plan(
        self,
        requests: Sequence[tuple[int, InferenceRequest]],
        parameters: Mapping[str, Parameter],
    ) -> Plan:
        """One row per request."""
        rows = [Row(index, 0, request.inputs) for index, request in requests]
        return Plan(as_batches(rows, self.rows))

    def run(self, rows: Sequence[Row], parameters: Mapping[str, Parameter]) -> Sequence[Any]:
        """The inputs of each row."""
        return [row.data for row in rows]

    def finish(self, request: InferenceRequest, parts: Sequence[Any]) -> Sequence[Content]:
        """The inputs."""
        outputs: Sequence[Content] = parts[0]
        return outputs


class Shout(Echo):
    """Outputs are other texts than the inputs."""

    def run(self, rows: Sequence[Row], parameters: Mapping[str, Parameter]) -> Sequence[Any]:
        """Nothing of each text is left."""
        return [tuple("!" * len(str(each)) for each in row.data) for row in rows]


class Sleep(Echo):
    """Takes `ms` milliseconds per request, one after the other, then echoes."""

    rows = 1

    def run(self, rows: Sequence[Row], parameters: Mapping[str, Parameter]) -> Sequence[Any]:
        """The inputs of each row, later."""
        ms = parameters.get("ms")
        time.sleep((float(ms) if isinstance(ms, int | float) else SLEEP_MS) / 1e3 * len(rows))
        return super().run(rows, parameters)


class Fixed(Sleep):
    """Takes what its options say: `load_s` to load, `mb` MiB of memory, `ms` for each request.

    Of all requests it fails the share that `faults` says.
    """

    def load(self, path: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Takes its time and its memory."""
        time.sleep(options.get("load_s", 0.0))
        self._held = bytearray(os.urandom(1)) * (options.get("mb", 0) << 20)
        self._ms = options.get("ms", SLEEP_MS)
        self._faults, self._due = options.get("faults", 0.0), 0.0
        return {}

    def run(self, rows: Sequence[Row], parameters: Mapping[str, Parameter]) -> Sequence[Any]:
        """The inputs of each row, later, or nothing."""
        done = super().run(rows, {"ms": self._ms})
        self._due += self._faults
        if self._due >= 1:
            self._due -= 1
            raise ValueError("it was told to fail")
        return done


class _Marked(Echo):
    """Does something bad to the rows that are marked."""

    rows = 1

    def run(self, rows: Sequence[Row], parameters: Mapping[str, Parameter]) -> Sequence[Any]:
        """Acts if a row is marked, else echoes."""
        marker = parameters.get("marker")
        for row in rows:
            if not isinstance(marker, str) or any(
                isinstance(value, str) and marker in value for value in row.data
            ):
                self.act()
        return super().run(rows, parameters)

    def act(self) -> None:
        """What it does."""
        raise NotImplementedError


class Crash(_Marked):
    """Dies by a signal, as a fault in native code would."""

    def act(self) -> NoReturn:
        """SIGKILL to itself."""
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


class Hang(_Marked):
    """Never answers, nor listens."""

    def act(self) -> NoReturn:
        """Sleep for ever."""
        while True:
            signal.pause()


class Oom(_Marked):
    """Allocates until memory runs out, inside a limit of its own so that the machine is safe."""

    def act(self) -> NoReturn:
        """Raises MemoryError."""
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        pages = int(Path("/proc/self/statm").read_text().split()[5])
        limit = pages * mmap.PAGESIZE + OOM_HEADROOM
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
        blocks = []
        try:
            while True:
                blocks.append(bytearray(_BLOCK))
        finally:
            blocks.clear()
            resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
