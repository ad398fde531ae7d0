"""What exactly-once delivery costs, beside at-least-once."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from modelmora.bench.latency import median_ms, rest_caller
from modelmora.bench.rate import preloaded_rate, warm
from modelmora.bench.report import Figure, at_least, at_most
from modelmora.bench.stage import serving

CALLS = 300
ROUNDS = 3
DELIVERIES = ("at_least_once", "exactly_once")


def exactly_once(scale: float) -> list[Figure]:
    """The median wait of one caller and the rate of preloaded records; one instance of each kind.

    The two take turns, and each is idle while the other is measured.
    """
    waits: dict[str, list[float]] = {each: [] for each in DELIVERIES}
    rates: dict[str, list[float]] = {each: [] for each in DELIVERIES}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="modelmora-bench-")))
        stages = {}
        for each in DELIVERIES:
            (folder / each).mkdir()
            variables = {"MODELMORA_DELIVERY": each}
            stages[each] = stack.enter_context(serving(folder / each, scale, variables))
            warm(stages[each])
        for _ in range(max(1, int(ROUNDS * scale))):
            for each, stage in stages.items():
                waits[each].append(median_ms(rest_caller(stage), stage.scaled(CALLS, 3)))
            for each, stage in stages.items():
                rates[each].append(preloaded_rate(stage))
    wait_ms = {f"{each} ms": median(found) for each, found in waits.items()}
    rate = {f"{each} /s": median(found) for each, found in rates.items()}
    plain_ms, once_ms = wait_ms.values()
    plain, once = rate.values()
    return [
        Figure(
            "exactly_once.p50_ratio", once_ms / plain_ms, "ratio", at_most(3), plain_ms, wait_ms
        ),
        Figure("exactly_once.rate_ratio", once / plain, "ratio", at_least(0.5), plain, rate),
    ]
