"""`python -m tests.skewed`: a node whose wall clock is wrong, and jumps on SIGUSR1."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.nodes import NodeProcess

OFF_S = "SKEWED_OFF_S"
"""The variable that says by how much, in seconds."""


class SkewedNode(NodeProcess):
    """Such a node; `jump` makes a clock that was fast slow, and the other way round."""

    module = "tests.skewed"

    def __init__(self, servers: str, namespace: str, folder: Path, name: str, off_s: float) -> None:
        super().__init__(servers, namespace, folder, name)
        self._environment[OFF_S] = str(off_s)

    def jump(self) -> None:
        """Let it happen."""
        self.process.send_signal(signal.SIGUSR1)


def skew() -> None:
    """Replace this process's clock."""
    off = [float(os.environ[OFF_S])]
    seconds, nanoseconds = time.time, time.time_ns
    time.time = lambda: seconds() + off[0]
    time.time_ns = lambda: nanoseconds() + int(off[0] * 1e9)

    def jump(*_: object) -> None:
        off[0] = -off[0]

    signal.signal(signal.SIGUSR1, jump)


if __name__ == "__main__":
    skew()
    from modelmora.node.__main__ import main

    main()
