"""The log of the embedded broker: bounded on disk, its last lines at hand, faults told apart."""

from __future__ import annotations

import contextlib
import re
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO

from modelmora.errors import ConfigurationError, ModelMoraError

LIMIT_BYTES = 4 << 20
TAIL_LINES = 200
ALARMS = (" ERROR ", " FATAL ", "Exception", "Error:", "No space left")

_JAVA = re.compile(r"^(Caused by: )?([\w$]+\.)+\w+: ")
"""The name of an exception before its words."""


class PortTaken(ConfigurationError):
    """A port of the broker was taken between our look and its bind."""


class JavaLog:
    """Copies a JVM's output into a file of at most LIMIT_BYTES, and one file of the same before it.

    `started` is set at the first line that holds `marker`, and when the output ends.
    """

    def __init__(self, path: Path, marker: str) -> None:
        self.path = path
        self.started = threading.Event()
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._marker = marker

    def pump(self, output: IO[bytes], ended: Callable[[], None]) -> None:
        """Copy in a thread of its own until the output ends, then call `ended` there."""

        def run() -> None:
            with output:
                self._copy(output)
            ended()
            self.started.set()

        threading.Thread(target=run, name="broker-log", daemon=True).start()

    def _copy(self, output: IO[bytes]) -> None:
        for line in output:
            text = line.decode(errors="replace").rstrip()
            self.tail.append(text)
            if self._marker in text:
                self.started.set()
            # A full disk must not stop us reading, or the JVM would stand still.
            with contextlib.suppress(OSError):
                self._write(line)

    def _write(self, line: bytes) -> None:
        if self.path.exists() and self.path.stat().st_size + len(line) > LIMIT_BYTES:
            self.path.replace(self.path.with_name(self.path.name + ".1"))
        with self.path.open("ab") as file:
            file.write(line)

    def fault(self) -> ModelMoraError:
        """Why the broker ended, as one line."""
        return fault_of(tuple(self.tail), self.path)


def fault_of(lines: tuple[str, ...], log: Path) -> ModelMoraError:
    """Read the reason of a broker's end off the last lines of its log.

    1. A full disk (exit code 1). 2. A port taken meanwhile (exit code 2). 3. A folder that another
    broker uses, or that cannot be written (exit code 2). 4. Else the last line that sounds like it.
    """
    text = "\n".join(lines)
    folder = log.parent
    if "No space left on device" in text or "Disk quota exceeded" in text:
        return ModelMoraError(f"the disk of {folder} is full; free some space and start again")
    if "Address already in use" in text:
        return PortTaken("the broker's port was taken meanwhile; start again")
    if "Failed to acquire lock" in text:
        return ConfigurationError(f"another broker uses {folder}; stop it first")
    if "AccessDeniedException" in text or "Permission denied" in text:
        return ConfigurationError(f"the broker cannot write to {folder}; see {log}")
    if "Too many open files" in text:
        return ModelMoraError(
            "the broker may not open enough files; `ulimit -n 4096` allows it more"
        )
    telling = [line for line in lines if any(alarm in line for alarm in ALARMS)]
    last = (telling or [line for line in lines if line.strip()] or ["it said nothing"])[-1]
    said = _JAVA.sub("", last.strip())[:300]
    return ModelMoraError(f"the broker ended: {said} (see {log})")
