"""`<data-dir>/run.json`: where a running instance is found, by the CLI and by others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import psutil
from pydantic import TypeAdapter

from modelmora.host.folder import write_atomically

NAME = "run.json"
PROCESSES = ("broker", "node", "gateway", "zygote")
CLOCK_SLACK_S = 2.0


def _nobody() -> dict[str, int | None]:
    return dict.fromkeys(PROCESSES)


@dataclass(frozen=True, slots=True)
class RunInfo:
    """The addresses and process ids of one instance; None where its role lacks the part.

    `starting` says since when (Unix s) a part is being started again, `started_at` (Unix s) when
    the instance got ready, `config` which file the settings came from, `log` which one all its
    processes log to, `inode` which folder it was written for: a copy stands for nobody.
    """

    bootstrap_servers: str
    http: str | None
    grpc: str | None
    node_http: str | None
    pid: int
    processes: Mapping[str, int | None] = field(default_factory=_nobody)
    namespace: str | None = None
    config: str | None = None
    started_at: float | None = None
    starting: Mapping[str, float] = field(default_factory=dict)
    inode: int | None = None
    log: str | None = None


def write_run(data_dir: Path, info: RunInfo) -> None:
    """Write or replace run.json, atomically."""
    write_atomically(data_dir / NAME, json.dumps(asdict(info), indent=2) + "\n")


def remove_run(data_dir: Path) -> None:
    """Remove run.json; it is no error when it is not there."""
    (data_dir / NAME).unlink(missing_ok=True)


def read_run(data_dir: Path) -> RunInfo | None:
    """The instance that runs on this data folder, or None: no file, unreadable, a copy, or stale.

    Stale = its process is gone, or the pid now belongs to a process younger than the file.
    """
    path = Path(data_dir) / NAME
    try:
        written = path.stat().st_mtime
        # Of another version it may say less, or more.
        info = TypeAdapter(RunInfo).validate_json(path.read_bytes())
        info = replace(info, processes=_nobody() | dict(info.processes))
        if info.inode not in (None, path.parent.stat().st_ino):
            return None
        if psutil.Process(info.pid).create_time() > written + CLOCK_SLACK_S:
            return None
    except (OSError, ValueError, OverflowError, psutil.Error):
        return None
    return info
