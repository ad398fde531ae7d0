"""What requests wait longer while a node joins, leaves or is killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil

from modelmora.bench.report import Figure, at_most
from modelmora.bench.stage import PARTITIONS, PATIENCE_S, Stage, appended_s, requests_of, serving
from modelmora.errors import ModelMoraError
from modelmora.messages import Lane
from modelmora.wire import encode_request

MODELS = json.dumps([{"name": "echo", "task": "echo", "source": "builtin:echo"}])
SESSION_S = 10
RATE = 48.0
ALONE_S, AFTER_S = 15.0, 10.0
KILLED_S = SESSION_S + 20.0
"""So long requests come behind the kill."""


class Asked:
    """Requests that come steadily, on each partition in turn, and when each was sent (Unix s)."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._over = threading.Event()
        self.sent: dict[bytes, tuple[int, float]] = {}
        """By id: its partition, and when."""

    @contextlib.contextmanager
    def coming(self) -> Iterator[None]:
        """Meanwhile."""
        thread = threading.Thread(target=self._send)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _send(self) -> None:
        producer, due = self._stage.producer(), time.time()
        while not self._over.wait(max(0.0, due - time.time())):
            due, partition = due + 1 / RATE, len(self.sent) % PARTITIONS
            (request,) = requests_of("echo", ["x"])
            self.sent[request.request_id.encode()] = partition, time.time()
            value = encode_request(request)
            producer.produce("modelmora.requests.normal", value, "echo", partition)
            producer.poll(0)
        producer.flush(60)


def comings(scale: float) -> list[Figure]:
    """The longest wait while a second node joins, leaves, and is killed, by that of one alone."""
    variables = {
        "MODELMORA_MODELS": MODELS,
        "MODELMORA_TIMING__SESSION_TIMEOUT_S": str(SESSION_S),
    }
    with tempfile.TemporaryDirectory(prefix="modelmora-bench-") as name:
        folder = Path(name)
        with serving(_made(folder / "one"), scale, variables) as stage:
            tail = stage.tail("modelmora.results")
            stage.send(requests_of("echo", ["x"]))
            tail.take(1)
            asked, at = Asked(stage), dict[str, float]()
            second = variables | {
                "MODELMORA_ROLE": "node",
                "MODELMORA_BOOTSTRAP_SERVERS": stage.bootstrap_servers,
            }
            with asked.coming():
                _watch(folder, second, at, scale)
            ended = {m.key(): appended_s(m) for m in tail.take(len(asked.sent))}
            tail.close()
    waits = [(place, at_s, ended[key] - at_s) for key, (place, at_s) in asked.sent.items()]
    return _figures(waits, at)


def _watch(folder: Path, variables: dict[str, str], at: dict[str, float], scale: float) -> None:
    """Note in `at` when (Unix s) what happened began."""
    at["alone"] = time.time()
    time.sleep(ALONE_S * scale)
    at["join"] = time.time()
    with serving(_made(folder / "two"), scale, variables) as two:
        _share(two)
        time.sleep(AFTER_S * scale)
        at["leave"] = time.time()
    time.sleep(AFTER_S * scale)
    at["left"] = time.time()
    with serving(_made(folder / "three"), scale, variables) as three:
        _share(three)
        time.sleep(AFTER_S * scale)
        at["killed"] = time.time()
        _kill(int(three.run.pid))
        time.sleep(KILLED_S)


def _figures(waits: list[tuple[int, float, float]], at: dict[str, float]) -> list[Figure]:
    def longest(since: str, until: str) -> float:
        return max(wait for _, sent, wait in waits if at[since] <= sent < at[until])

    alone = longest("alone", "join")
    figures = [
        Figure(f"nodes.{what}_added_s", worst - alone, "s", at_most(2), alone, {"longest s": worst})
        for what, worst in (("join", longest("join", "leave")), ("leave", longest("leave", "left")))
    ]
    first = dict[int, float]()
    for place, sent, wait in waits:
        if sent >= at["killed"]:
            first[place] = min(first.get(place, float("inf")), sent + wait - at["killed"])
    most = at_most(SESSION_S + 5)
    beside = {"session s": SESSION_S, "of its partitions, least s": min(first.values())}
    worst = max(first.values())
    return [*figures, Figure("nodes.killed_to_outcome_s", worst, "s", most, None, beside)]


def _share(node: Stage) -> None:
    """Wait until the node reads half of the partitions."""
    end = time.monotonic() + PATIENCE_S
    while True:
        told = httpx.get(f"{node.run.node_http}/health/ready", timeout=10).json()
        if int(told["partitions"]) == PARTITIONS * len(Lane) // 2:
            return
        if time.monotonic() > end:
            raise ModelMoraError("two nodes do not share the partitions alike")
        time.sleep(0.2)


def _kill(pid: int) -> None:
    """Kill all processes of an instance; whoever watches over the others first."""
    processes = psutil.Process(pid).children(recursive=True)
    for each in (pid, *(child.pid for child in processes)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
