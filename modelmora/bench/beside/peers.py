"""Other echoes as processes that are ready, measured, and gone."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from modelmora.bench.stage import PATIENCE_S, Stage
from modelmora.broker.ports import any_ports
from modelmora.errors import ModelMoraError
from modelmora.surroundings import interpreter

HOST = "127.0.0.1"
LOOK_S = 0.2


@contextlib.contextmanager
def bare(stage: Stage, kind: str, source: str, target: str) -> Iterator[int]:
    """Run a bare echo between two topics; yields its pid."""
    command = [*interpreter("modelmora.bench.beside.bare"), kind]
    process = subprocess.Popen(
        [*command, stage.bootstrap_servers, source, target],
        stdout=subprocess.PIPE,
        stderr=(stage.folder / f"{kind}.log").open("ab"),
        text=True,
    )
    try:
        line = process.stdout.readline() if process.stdout else ""
        if line.strip() != "ready":
            raise ModelMoraError(f"the bare {kind} echo did not start; see {kind}.log")
        yield process.pid
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


@contextlib.contextmanager
def mlserver(folder: Path) -> Iterator[str | None]:
    """MLServer's echo, with its defaults but no debugging; where it is, None where it is not built.

    Its packages do not go with ours: `make peers` builds an environment of its own.
    """
    program = Path(sys.prefix) / "mlserver" / "bin" / "mlserver"
    if not program.exists():
        yield None
        return
    (models := folder / "mlserver").mkdir()
    shutil.copy(Path(__file__).with_name("mlserver_echo.py"), models)
    about = {"name": "echo", "implementation": "mlserver_echo.Echo"}
    (models / "model-settings.json").write_text(json.dumps(about))
    named = (f"MLSERVER_{what}_PORT" for what in ("HTTP", "GRPC", "METRICS"))
    ports = dict(zip(named, map(str, any_ports(HOST, 3)), strict=True))
    environment = {**os.environ, "MLSERVER_DEBUG": "false", "MLSERVER_HOST": HOST, **ports}
    with (models / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(program), "start", str(models)], stdout=log, stderr=log, env=environment
        )
    at = f"http://{HOST}:{ports['MLSERVER_HTTP_PORT']}"
    try:
        _wait_ready(process, f"{at}/v2/models/echo/ready")
        yield at
    finally:
        process.terminate()
        process.wait(30)


def _wait_ready(process: subprocess.Popen[bytes], ready: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(ready, timeout=5):  # noqa: S310
            return
        time.sleep(LOOK_S)
    raise ModelMoraError("MLServer did not start; build it anew with `make peers`")
