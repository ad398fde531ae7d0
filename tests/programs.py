"""Small programs in the place of node and gateway, and waiting for what other processes do.

`python -m tests.programs node|gateway|silent|refusing CODE|dying|serve` from the repository's root.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from modelmora.host.face import Silent
from modelmora.host.plan import Commands
from modelmora.host.runfile import RunInfo
from modelmora.host.serve import serve
from modelmora.settings import Settings, load_settings
from modelmora.telemetry.notify import notify

ROOT = Path(__file__).parents[1]
CAP_S = 60.0
SELDOM_S = 0.1


def program(*words: str) -> tuple[str, ...]:
    """The command that runs one of these programs."""
    return (sys.executable, "-m", "tests.programs", *words)


COMMANDS = Commands(node=program("node"), gateway=program("gateway"))


Found = TypeVar("Found")


def eventually(look: Callable[[], Found], what: str, cap_s: float = CAP_S) -> Found:
    """Look again and again until something true is seen; fails with `what` after the cap.

    Ever less often, for a look may cost those who are waited for the time they need.
    """
    until, pause_s = time.monotonic() + cap_s, 0.01
    while time.monotonic() < until:
        if found := look():
            return found
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, SELDOM_S)
    raise AssertionError(f"not within {cap_s:.0f} s: {what}")


def alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def _announce(name: str) -> None:
    settings = load_settings()
    if name == "node":
        address = f"http://{settings.host}:{settings.node_http_port}"
        notify(ready=True, node_http=address, zygote=os.getpid())
    else:
        http, grpc = settings.http_port, settings.grpc_port
        notify(ready=True, http=f"http://{settings.host}:{http}", grpc=f"{settings.host}:{grpc}")


def _until_told() -> None:
    signal.sigwait({signal.SIGTERM})


class _Written(Silent):
    """Writes the addresses on standard output."""

    def ready(self, settings: Settings, info: RunInfo, models: Sequence[Mapping[str, Any]]) -> None:
        sys.stdout.write(json.dumps(dataclasses.asdict(info)) + "\n")
        sys.stdout.flush()


def _serve() -> int:
    return asyncio.run(serve(load_settings(), face=_Written(), commands=COMMANDS))


def main(words: list[str]) -> int:
    """Be one of the programs."""
    match words:
        case ["serve"]:
            return _serve()
        case ["refusing", code]:
            sys.stderr.write(f"refusing with {code}\n")
            return int(code)
        case ["dying"]:
            return 1
        case [name]:
            # Blocked before anything is said, so that a quick SIGTERM is not lost.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            if name != "silent":
                _announce(name)
            _until_told()
            return 0
        case _:
            return 64


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
