"""The bare echoes as processes that are ready, measured, and gone."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator

from modelmora.bench.stage import Stage
from modelmora.errors import ModelMoraError
from modelmora.surroundings import interpreter


@contextlib.contextmanager
def bare(stage: Stage, kind: str, source: str, target: str) -> Iterator[int]:
    """Run a bare echo between two topics; yields its pid."""
    command = [*interpreter("modelmora.bench.bare"), kind]
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
