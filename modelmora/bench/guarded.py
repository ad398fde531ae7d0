"""What callers wait longer at a gateway that asks for keys, rights and budgets."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median

import orjson

from modelmora.access.files import KeyFile
from modelmora.access.keys import Keys, made
from modelmora.bench.rate import warm
from modelmora.bench.report import Figure, at_most
from modelmora.bench.stage import PATIENCE_S, Stage
from modelmora.broker.tether import tethered
from modelmora.errors import ModelMoraError
from modelmora.surroundings import interpreter

CALLS = 2000
WARM_UP = 200
TEXT = "x" * 200
PRINCIPAL = "alice"
ROLES = {f"r{number}": [{"verbs": ["infer"], "models": ["e*"]}] for number in range(10)}
RATE = {"amount": 10**9}
BUDGETS = {"all": {"requests": RATE, "tokens": RATE}, "low": {"lanes": ["low"], "pixels": RATE}}


def guarded(stage: Stage) -> list[Figure]:
    """Two gateways before one node, of which one asks: a call at each in turn, the medians."""
    warm(stage)
    folder = stage.folder / "guarded"
    with _gateway(stage, folder / "open", {}) as free, _asking(stage, folder / "keys") as asking:
        for _ in range(stage.scaled(WARM_UP, 3)):
            free(), asking()
        waits: tuple[list[float], list[float]] = ([], [])
        for _ in range(stage.scaled(CALLS, 3)):
            for call, found in zip((free, asking), waits, strict=True):
                began = time.perf_counter()
                call()
                found.append((time.perf_counter() - began) * 1000)
    off_ms, on_ms = map(median, waits)
    beside = {"off ms": off_ms, "on ms": on_ms}
    return [Figure("guard.rest_p50", on_ms / off_ms, "ratio", at_most(1.05), off_ms, beside)]


def _asking(stage: Stage, folder: Path) -> contextlib.AbstractContextManager[Callable[[], None]]:
    folder.mkdir(parents=True)
    shown: list[str] = []

    def one(keys: Keys, pepper: bytes) -> Keys:
        text, key = made(keys, PRINCIPAL, pepper, time.time_ns() // 1_000_000)
        shown.append(text)
        return (*keys, key)

    KeyFile(folder / "keys.json", folder / "keys.pepper").change(one)
    told = {
        "CALLERS": "keys",
        "ROLES": json.dumps(ROLES),
        "GRANTS": json.dumps({PRINCIPAL: [*ROLES]}),
        "BUDGETS": json.dumps(BUDGETS),
    }
    variables = {f"MODELMORA_ACCESS__{name}": value for name, value in told.items()}
    return _gateway(stage, folder, variables, {"Authorization": f"Bearer {shown[0]}"})


@contextlib.contextmanager
def _gateway(
    stage: Stage,
    folder: Path,
    variables: Mapping[str, str],
    headers: Mapping[str, str] | None = None,
) -> Iterator[Callable[[], None]]:
    """A gateway more, and one call of it over a connection that is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    own = {
        "BOOTSTRAP_SERVERS": stage.bootstrap_servers,
        "DATA_DIR": str(folder),
        "HTTP_PORT": str(port),
        "GRPC_PORT": "0",
        "LOG__LEVEL": "warning",
    }
    env = {**os.environ, **{f"MODELMORA_{name}": value for name, value in own.items()}, **variables}
    with (folder / "gateway.log").open("wb") as log:
        process = subprocess.Popen(
            tethered(interpreter("modelmora.gateway")), stdout=log, stderr=log, env=env
        )
        try:
            yield _caller(port, headers or {}, process)
        finally:
            process.terminate()
            process.wait(60)


def _caller(
    port: int, headers: Mapping[str, str], process: subprocess.Popen[bytes]
) -> Callable[[], None]:
    """Asks for an echo, from when the gateway answers. Raises ModelMoraError."""
    body = orjson.dumps({"inputs": [TEXT]})
    sent = {"Content-Type": "application/json", **headers}

    def call() -> None:
        connection.request("POST", "/infer/echo", body, sent)
        response = connection.getresponse()
        answer = response.read()
        if response.status != http.HTTPStatus.OK:
            raise ModelMoraError(f"a gateway to measure says {answer[:200]!r}")

    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        with contextlib.suppress(OSError, ModelMoraError, http.client.HTTPException):
            call()
            return call
        time.sleep(0.2)
    raise ModelMoraError("a gateway to measure did not start")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
