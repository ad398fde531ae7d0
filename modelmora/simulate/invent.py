"""Traffic that is made up: Poisson arrivals, favourites by Zipf's law, bursts; the same by seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import accumulate

from modelmora.errors import Invalid
from modelmora.messages import Lane
from modelmora.simulate.trace import Asked, Cost, Trace

MIB = 1 << 20
MOST = 5_000_000
_LANES = (Lane.CRITICAL, Lane.HIGH, Lane.NORMAL, Lane.LOW)
_LANE_WEIGHTS = (1, 2, 6, 1)
_LOAD_BYTES_S = 500 * MIB
"""What a disk and a start make of a load, in bytes a second beside half a second."""


@dataclass(frozen=True, slots=True)
class Invention:
    """What traffic is to be like.

    `rate` is requests a second on average. Of models ordered by how often they are asked for, the
    n-th gets a share like n ** -`zipf` (0: all alike). A request brings `burst` - 1 more of its
    model with it on average, at the same moment (geometric), so there are fewer such moments.
    """

    models: int = 8
    rate: float = 2.0
    seconds: float = 600.0
    zipf: float = 1.0
    burst: float = 1.0
    seed: int = 1


def invent(wanted: Invention) -> Trace:
    """Such a trace.

    Models take 250 MiB to 4 GiB, load in 0.5 s and a second for each 500 MiB, and compute one
    request at a time in 20 to 200 ms, its units being around 1.

    Raises Invalid where that is too much.
    """
    # What is no number is neither.
    if not (wanted.rate * wanted.seconds <= MOST and wanted.burst <= MOST and wanted.zipf < MOST):
        raise Invalid(f"it would be more than {MOST:,} requests; lower --rate or --seconds")
    chance = random.Random(wanted.seed)  # noqa: S311 - no secret
    names = [f"model-{number:02}@1" for number in range(1, wanted.models + 1)]
    models = {name: _cost(chance) for name in names}
    weights = [*accumulate(number**-wanted.zipf for number in range(1, wanted.models + 1))]
    requests: list[Asked] = []
    time = 0.0
    while True:
        time += chance.expovariate(wanted.rate / wanted.burst)
        if time > wanted.seconds:
            return Trace(models, requests)
        (name,) = chance.choices(names, cum_weights=weights)
        requests.append(_request(chance, time, name))
        while chance.random() > 1 / wanted.burst:
            requests.append(_request(chance, time, name))


def _cost(chance: random.Random) -> Cost:
    size = round(250 * MIB * 16 ** chance.random())
    return Cost(
        load_s=round(0.5 + size / _LOAD_BYTES_S, 2),
        bytes=size,
        unit_s=round(0.02 * 10 ** chance.random(), 3),
    )


def _request(chance: random.Random, time: float, name: str) -> Asked:
    (lane,) = chance.choices(_LANES, _LANE_WEIGHTS)
    units = round(chance.uniform(0.5, 1.5), 2)
    principal = f"caller-{chance.randrange(1, 4)}"
    return Asked(round(time, 3), name, lane, chance.randrange(100, 2000), units, principal)
