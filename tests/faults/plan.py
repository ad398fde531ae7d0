"""What a programme does: how much is sent, what is killed and frozen how often, in which order."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from tests.checker import Delivery
from tests.nodes import SESSION_S


class Part(StrEnum):
    """What can be struck."""

    CHILD = "child"
    ZYGOTE = "zygote"
    NODE = "node"
    GATEWAY = "gateway"
    BROKER = "broker"


KILLED = (Part.CHILD, Part.ZYGOTE, Part.NODE, Part.BROKER)
FROZEN = tuple(Part)
# Longer than the group waits for a member, and than the time that a part of the requests have.
LONG_S = (SESSION_S + 5.0, SESSION_S + 10.0)
SHORT_S = (0.2, 2.0)


class Strike(NamedTuple):
    """One fault: SIGKILL, or, where `frozen_s` is given, SIGSTOP and SIGCONT so much later."""

    part: Part
    frozen_s: float | None = None


def whole_kills() -> dict[Part, int]:
    """How often each part is killed in the whole programme."""
    return {Part.CHILD: 50, Part.ZYGOTE: 3, Part.NODE: 10, Part.BROKER: 3}


def whole_freezes() -> dict[Part, int]:
    """How often each part is frozen in the whole programme."""
    return {Part.NODE: 5, Part.ZYGOTE: 5, Part.BROKER: 5, Part.CHILD: 3, Part.GATEWAY: 3}


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is decided before a run; the seed decides the order, the lengths and the inputs."""

    requests: int = 5000
    kills: Mapping[Part, int] = field(default_factory=whole_kills)
    freezes: Mapping[Part, int] = field(default_factory=whole_freezes)
    seed: int = 1
    nodes: int = 1
    delivery: Delivery = Delivery.AT_LEAST_ONCE

    def __str__(self) -> str:
        kills = " ".join(f"{part}={count}" for part, count in self.kills.items())
        freezes = " ".join(f"{part}={count}" for part, count in self.freezes.items())
        size = f"requests={self.requests} nodes={self.nodes} delivery={self.delivery}"
        return f"seed={self.seed} {size}, kills: {kills}, freezes: {freezes}"

    @property
    def strikes(self) -> list[Strike]:
        """The faults in their order; every second freeze of a part is a long one."""
        chance = random.Random(self.seed)
        order = [Strike(part) for part, count in self.kills.items() for _ in range(count)]
        for part, count in self.freezes.items():
            lengths = [SHORT_S if number % 2 else LONG_S for number in range(count)]
            order += [Strike(part, chance.uniform(*length)) for length in lengths]
        chance.shuffle(order)
        return order
