"""Goodput: outcomes within their deadline, under more than there is room for, as children die."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil

from modelmora.bench.report import Figure, at_least
from modelmora.bench.stage import Stage, appended_s, fixed, requests_of, serving
from modelmora.messages import InferenceRequest, Status
from modelmora.wire import decode_result

MODEL, MS = "fixed", 20
PRELOADED = 400
SECONDS, WARM_UP_S = 40.0, 15.0
"""So long requests come, and those of the first part do not count: until then the line grows."""
DEADLINE_S = 3.0
OVERLOAD = 1.2
KILL_EVERY_S = 1.0
SEED = 11


def goodputs(scale: float) -> list[Figure]:
    """What is completed in time at 120 % of what one child can do, and while it is killed.

    Both beside what is at 100 %, which is measured first: the rate of requests that lie there.
    """
    seconds = max(SECONDS * scale, 2.0)
    models = {"MODELMORA_MODELS": json.dumps([fixed(MODEL, {"ms": MS})])}
    with tempfile.TemporaryDirectory(prefix="modelmora-bench-") as folder:
        with serving(Path(folder), scale, models) as stage:
            rate = _rate(stage)
            full = max(_goodput(stage, rate, seconds), 1e-3)
            over = _goodput(stage, OVERLOAD * rate, seconds)
            with _killing(stage) as killed:
                crashing = _goodput(stage, rate, seconds)
    beside = {"at 100 % /s": full, "capacity /s": rate, "asleep /s": 1000 / MS}
    return [
        Figure("goodput.at_120", over / full, "ratio", at_least(0.9), full, {"/s": over, **beside}),
        Figure(
            "goodput.killed",
            crashing / full,
            "ratio",
            at_least(0.7),
            full,
            {"/s": crashing, "children killed": len(killed), **beside},
        ),
    ]


def _rate(stage: Stage) -> float:
    """Outcomes a second of requests that lie there at once; the first loads the model."""
    tail = stage.tail("modelmora.results")
    stage.send(requests_of(MODEL, ["x"]))
    tail.take(1)
    asked = stage.scaled(PRELOADED, 20)
    stage.send(requests_of(MODEL, ["x"] * asked))
    ended = sorted(map(appended_s, tail.take(asked)))
    tail.close()
    return (asked - 1) / max(ended[-1] - ended[0], 1e-3)


def _goodput(stage: Stage, rate: float, seconds: float) -> float:
    """Of what came behind the warm-up, what was completed in time, a second.

    Requests come by chance (Poisson), each with so long to its outcome.
    """
    tail, sent = stage.tail("modelmora.results"), dict[bytes, float]()
    began, at, chance = time.time(), 0.0, random.Random(SEED)
    while (at := at + chance.expovariate(rate)) < seconds:
        time.sleep(max(0.0, began + at - time.time()))
        request = _request()
        sent[request.request_id.encode()] = time.time()
        stage.send_one(request)
    good, warm = 0, began + seconds * WARM_UP_S / SECONDS
    for message in tail.take(len(sent)):
        came = sent[message.key() or b""]
        in_time = appended_s(message) - came <= DEADLINE_S
        done = decode_result(message.value()).status is Status.COMPLETED
        good += came >= warm and in_time and done
    tail.close()
    return good / (began + seconds - warm)


def _request() -> InferenceRequest:
    return replace(requests_of(MODEL, ["x"])[0], timeout_ms=int(DEADLINE_S * 1000))


@contextlib.contextmanager
def _killing(stage: Stage) -> Iterator[list[int]]:
    """Kill the model's child (SIGKILL) each second, whatever it does; yields those that were."""
    over, killed = threading.Event(), list[int]()
    thread = threading.Thread(target=_kill, args=(stage, over, killed))
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def _kill(stage: Stage, over: threading.Event, killed: list[int]) -> None:
    node, zygote = psutil.Process(stage.pid("node")), stage.pid("zygote")
    while not over.wait(KILL_EVERY_S):
        for child in node.children():
            if child.pid != zygote:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGKILL)
                    killed.append(child.pid)
