"""What a run of chaos is: its seed, how long, at which rate, on how many nodes, which kinds."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.faults.chaos.strikes import KINDS, SOAK, Strike

MINUTES, RATE, FLOOD = 2.0, 50.0, 2000
GAP_S = (0.5, 6.0)
FILL = 240_000
"""More ids than two nodes remember; see `modelmora.agents.twins`."""
SETTLE_S = 30.0
"""As much as the samples at the end, and what clients that are given up need to close."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is decided before; the seed decides order, lengths, gaps and inputs.

    `rate` is in requests a second, `flood` how many are written at once. With `witness` the first
    node and its zygote are never killed, so that what they hold can be compared: behind `fill`
    requests, by which all that nodes remember has reached its bounds, and at the end after
    `settle_s` in which nothing is asked.
    """

    seed: int
    minutes: float = MINUTES
    rate: float = RATE
    nodes: int = 2
    flood: int = FLOOD
    witness: bool = False
    fill: int = 0
    settle_s: float = 0.0
    kinds: Sequence[type[Strike]] = KINDS

    def __str__(self) -> str:
        size = f"{self.minutes:g} min at {self.rate:g} requests/s, {self.nodes} nodes"
        return f"seed={self.seed}, {size}, {len(self.kinds)} kinds of fault"

    def strikes(self) -> Iterator[tuple[float, Strike]]:
        """Without end: a gap (seconds), then a strike. Each kind once before any comes again."""
        chance = random.Random(f"{self.seed} strikes")
        while True:
            kinds = list(self.kinds)
            chance.shuffle(kinds)
            for kind in kinds:
                gap_s = chance.uniform(*GAP_S)
                yield gap_s, kind(random.Random(chance.random()))


def soak(seed: int) -> Plan:
    """Ten minutes and more than 200,000 requests, after which nothing may have grown."""
    return Plan(
        seed,
        minutes=10.0,
        rate=345.0,
        flood=5000,
        witness=True,
        fill=FILL,
        settle_s=SETTLE_S,
        kinds=SOAK,
    )
