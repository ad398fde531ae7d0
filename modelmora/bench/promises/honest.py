"""Whether the wait that is told at first is the wait, of models that do not all fit."""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelmora.bench.report import Figure, at_least
from modelmora.bench.stage import Stage, Tail, appended_s, serving
from modelmora.messages import InferenceRequest, Parameter, ProgressStage
from modelmora.wire import decode_progress, new_request_id

BUDGET_MB = 48
"""Two of the stand-ins fit, which take about 20 MiB each."""
NEEDS = {"memory_mb": 20}
KINDS: tuple[tuple[str, str, tuple[dict[str, Parameter], ...]], ...] = (
    ("short", "sleep", ({"ms": 60.0}, {"ms": 150.0})),
    ("long", "sleep", ({"ms": 400.0}, {"ms": 900.0})),
    ("talk", "count", ({"words": 40, "ms": 10.0}, {"words": 120, "ms": 10.0})),
)
"""Models: name, task, and the parameters of what is asked of each."""
ROUNDS = 12
BURST = 20
SEED = 7
FIRST = 3
"""So often each shape is used before it counts."""
MOMENT_S = 0.1
"""What both call nothing is one."""


@dataclass(frozen=True, slots=True)
class Told:
    """What was told of one request, and its real wait until it started, in seconds."""

    estimate_s: float | None
    wait_s: float

    @property
    def within_half(self) -> bool:
        """Whether it took half to one and a half of that, or both are but a moment."""
        if self.estimate_s is None:
            return False
        off_s = abs(self.wait_s - self.estimate_s)
        return off_s <= max(self.estimate_s / 2, MOMENT_S)


def estimates(scale: float) -> list[Figure]:
    """The share of requests whose real wait was within half to one and a half of the estimate."""
    settings = {
        "MODELMORA_MODELS": json.dumps(
            [
                {"name": name, "task": task, "source": f"builtin:{task}", "needs": NEEDS}
                for name, task, _ in KINDS
            ]
        ),
        "MODELMORA_MEMORY__BUDGET_BYTES": str(BUDGET_MB << 20),
    }
    with tempfile.TemporaryDirectory(prefix="modelmora-bench-") as folder:
        with serving(Path(folder), scale, settings) as stage:
            return [_figure(_measure(stage))]


def _measure(stage: Stage) -> list[Told]:
    chance = random.Random(SEED)
    tail = stage.tail("modelmora.progress")
    for _ in range(stage.scaled(FIRST)):
        for name, _, shapes in KINDS:
            for parameters in shapes:
                _ask(stage, tail, [_request(name, parameters)])
    told: list[Told] = []
    for _ in range(stage.scaled(ROUNDS)):
        chosen = [chance.choice(KINDS) for _ in range(stage.scaled(BURST, 3))]
        told += _ask(stage, tail, [_request(name, chance.choice(p)) for name, _, p in chosen])
        time.sleep(chance.random() * stage.scale)
    tail.close()
    return told


def _request(model: str, parameters: dict[str, Parameter]) -> InferenceRequest:
    return InferenceRequest(new_request_id(), model, ("x",), None, parameters, progress=True)


def _ask(stage: Stage, tail: Tail, requests: Sequence[InferenceRequest]) -> Iterable[Told]:
    """Send them together; what each was told first, and when it started."""
    sent_s = stage.send(requests)
    ids = {request.request_id for request in requests}
    first: dict[str, float | None] = {}
    started: dict[str, float] = {}
    while started.keys() < ids:
        for message in tail.take(1):
            event = decode_progress(message.value())
            if event.stage is ProgressStage.ACCEPTED:
                wait_ms = event.estimate_ms
                first.setdefault(event.request_id, None if wait_ms is None else wait_ms / 1000)
            elif event.stage is ProgressStage.STARTED and event.request_id in ids:
                started.setdefault(event.request_id, appended_s(message) - sent_s)
    return [Told(first.get(each), started[each]) for each in ids]


def _figure(told: Sequence[Told]) -> Figure:
    good = sum(each.within_half for each in told)
    known = [each for each in told if each.estimate_s is not None]
    longer = [each for each in known if each.wait_s >= 1]
    return Figure(
        "estimate.within_half",
        good / len(told),
        "share",
        at_least(0.9),
        None,
        {
            "requests": len(told),
            "without an estimate": len(told) - len(known),
            "of those that waited 1 s": _share(longer),
            "mean wait s": sum(each.wait_s for each in told) / len(told),
        },
    )


def _share(told: Sequence[Told]) -> float:
    return sum(each.within_half for each in told) / max(len(told), 1)
