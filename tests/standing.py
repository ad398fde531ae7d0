"""`python -m tests.standing`: a node whose loop a signal stops, with or without its threads."""

from __future__ import annotations

import ctypes
import signal
import time

from modelmora.node.__main__ import main

HELD_S = 20


def stand(*_: object) -> None:
    """Block the loop for ever, as a call that waits does: other threads go on."""
    time.sleep(1_000_000)


def hold(*_: object) -> None:
    """Block the whole interpreter, as a call into C that keeps its lock does."""
    ctypes.PyDLL(None).sleep(HELD_S)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, stand)
    signal.signal(signal.SIGUSR2, hold)
    main()
