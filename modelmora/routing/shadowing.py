"""Of which requests a route has copies made, and for which versions; pure."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from math import inf

from modelmora.routing.choosing import Asking, Steps, choose, step_at

WHOLE = 100


def shadowed(routes: Mapping[str, Steps], since_ms: float) -> frozenset[str]:
    """The names of which copies are made of what is made since then (Unix ms)."""
    return frozenset(name for name, steps in routes.items() if _asks(steps, since_ms))


def _asks(steps: Steps, since_ms: float) -> bool:
    """Whether any route asks for copies that counts since then, or later."""
    ends = [*(at for at, _ in steps[1:]), inf]
    return any(route.shadow for (_, route), end in zip(steps, ends, strict=True) if end > since_ms)


def may_be_copied(steps: Steps, request_id: str) -> bool:
    """Whether a request of this id has a copy by any of these routes; most have none."""
    return any(
        _drawn(version, request_id) < part
        for _, route in steps
        for version, part in route.shadow.items()
    )


def shadows(name: str, steps: Steps, asking: Asking) -> tuple[str, ...]:
    """The versions that get a copy of a request of this name; of `steps` there is at least one.

    (1) As the route says by which it is answered.
    (2) By the hash of its id, so each node and each try decides alike.
    (3) Not the version that answers it.
    """
    # (1)
    _, route = step_at(steps, asking.made_ms)
    # (2)
    found = [each for each, part in route.shadow.items() if _drawn(each, asking.request_id) < part]
    # (3)
    answers = choose(name, steps, asking).version if found else ""
    return tuple(version for version in found if version != answers)


def _drawn(version: str, request_id: str) -> float:
    """From 0 to 100, evenly; apart for each version."""
    what = f"{version} {request_id}".encode(errors="replace")
    return int.from_bytes(blake2b(what, digest_size=6).digest()) / (1 << 48) * WHOLE
