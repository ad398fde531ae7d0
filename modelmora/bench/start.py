"""How long a start and the demo take, beside the parts that cannot be had for less."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from modelmora.bench.report import Figure, at_most
from modelmora.bench.stage import serving
from modelmora.broker import EmbeddedBroker
from modelmora.engines import CATALOG
from modelmora.registry.definitions import MINILM
from modelmora.surroundings import interpreter
from modelmora.workers.handle import spawn_zygote

ROUNDS = 3
DEMO_PER_IMPORT, DEMO_S = 4, 5
READY_BYTES = 64 << 10


def starts(scale: float) -> list[Figure]:
    """`serve` until it is ready, and `modelmora demo`; each on a data folder of its own."""
    seen: dict[str, list[float]] = {}
    for _ in range(max(1, int(ROUNDS * scale))):
        # The demo last: as a user's second one it finds Kafka fetched and the files in memory.
        for measured in (_torch, _broker, _zygote, _serve, _demo):
            seen.setdefault(measured.__name__.strip("_"), []).append(measured())
    s = {name: median(values) for name, values in seen.items()}
    slower = max(s["broker"], s["zygote"])
    return [
        Figure(
            "start.ready_vs_parts",
            s["serve"] / slower,
            "ratio",
            at_most(1.3),
            slower,
            {f"{name} s": s[name] for name in ("serve", "broker", "zygote")},
        ),
        Figure(
            "start.second_demo_s",
            s["demo"],
            "s",
            at_most(DEMO_PER_IMPORT * s["torch"] + DEMO_S),
            s["torch"],
            {"import torch s": s["torch"]},
        ),
    ]


def _timed(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _torch() -> float:
    return _timed(lambda: subprocess.run([sys.executable, "-P", "-c", "import torch"], check=True))


def _demo() -> float:
    command = [*interpreter("modelmora.cli"), "demo"]
    return _timed(lambda: subprocess.run(command, check=True, capture_output=True))


def _broker() -> float:
    with tempfile.TemporaryDirectory(prefix="modelmora-bench-") as folder:
        broker = EmbeddedBroker(Path(folder))
        try:
            return _timed(broker.start)
        finally:
            broker.stop()


def _zygote() -> float:
    """From its start to its last import, for the packaged model."""
    began = time.perf_counter()
    process, ours, _ = spawn_zygote(CATALOG[MINILM.task].modules)
    with ours:
        ours.recv(READY_BYTES)
        spent = time.perf_counter() - began
    process.wait()
    return spent


def _serve() -> float:
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="modelmora-bench-") as folder, serving(Path(folder)):
        return time.perf_counter() - began
