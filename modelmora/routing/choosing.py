"""Which version a route chooses for a request: the same one wherever and whenever it is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from math import log
from typing import NamedTuple, Protocol

from modelmora.messages import Lane, Parameter
from modelmora.messages.headers import LOCAL
from modelmora.settings.routes import BY_HEADER, BY_PARAMETER, BY_PRINCIPAL, Route, RouteRule

Steps = tuple[tuple[int, Route], ...]
"""From when on (Unix ms) requests that are made then are answered by which route, in order."""


class Asking(Protocol):
    """What a route looks at of a request; all of it goes with the request wherever it is read."""

    @property
    def request_id(self) -> str:
        """Its id."""

    @property
    def made_ms(self) -> int:
        """When it was made (Unix ms): the same however often it is read."""

    @property
    def principal(self) -> str:
        """Who asks."""

    @property
    def lane(self) -> Lane:
        """Its priority."""

    @property
    def given(self) -> Mapping[str, Parameter]:
        """The parameters that it sets itself."""

    def header(self, name: str) -> str | None:
        """What a header of it says; None where it has none of that name."""


class Choice(NamedTuple):
    """A version, and why it: "" where it was the only one."""

    version: str
    reason: str


def alone(version: str) -> Route:
    """The route by which one version answers all."""
    return Route(weights={version: 1})


def main_version(route: Route) -> str:
    """The version that answers most; of several the first by name."""
    return min(route.weights, key=lambda version: (-route.weights[version], version))


def step_at(steps: Steps, made_ms: int) -> tuple[int, Route]:
    """Since when (Unix ms) which route counts for what was made then.

    What is older than all that is known is answered as the oldest says.
    """
    return next((step for step in reversed(steps) if step[0] <= made_ms), steps[0])


def choose(name: str, steps: Steps, asking: Asking) -> Choice:
    """The version of a name that answers a request; of `steps` there is at least one.

    (1) Only one can be meant.
    (2) The first rule that fits.
    (3) Else by weight.
    """
    since_ms, route = steps[0] if len(steps) == 1 else step_at(steps, asking.made_ms)
    # (1)
    if route.only is not None:
        return Choice(route.only, "")
    # (2)
    for number, rule in enumerate(route.rules, 1):
        if fits(rule, asking):
            return Choice(rule.version, f"rule {number} since {since_ms}")
    # (3)
    version = shared(name, route.weights, stuck_to(route.sticky, asking))
    return Choice(version, f"weights since {since_ms}")


def fits(rule: RouteRule, asking: Asking) -> bool:
    """Whether a rule is for this request."""
    if rule.lane is not None and rule.lane != asking.lane.label:
        return False
    if rule.header is None:
        return True
    said = asking.header(rule.header)
    return said is not None and rule.value in (None, said)


def idle(rules: Sequence[RouteRule]) -> Iterator[tuple[int, int]]:
    """The numbers of rules that never fit, each with that of one before it that takes all of it."""
    for number, rule in enumerate(rules, 1):
        for earlier, other in enumerate(rules[: number - 1], 1):
            if (
                other.lane in (None, rule.lane)
                and other.header in (None, rule.header)
                and other.value in (None, rule.value)
            ):
                yield number, earlier
                break


def stuck_to(sticky: str, asking: Asking) -> str:
    """What decides by which share a request is answered.

    The id, where the request lacks what is asked for or has it empty, or comes from somebody who
    has no name: else all of those would get one version.
    """
    found: str | None = None
    if sticky == BY_PRINCIPAL:
        found = None if asking.principal == LOCAL else asking.principal
    elif sticky.startswith(BY_HEADER):
        found = asking.header(sticky.removeprefix(BY_HEADER))
    elif sticky.startswith(BY_PARAMETER):
        value = asking.given.get(sticky.removeprefix(BY_PARAMETER))
        found = None if value is None else repr(value)
    return f"{sticky} {found}" if found else f"id {asking.request_id}"


def shared(name: str, weights: Mapping[str, int], key: str) -> str:
    """The version that has this key, by weighted rendezvous.

    Each version draws a time from the key, exponentially distributed with its weight as the rate;
    the earliest wins, so each wins in proportion to its weight. Where the weight of one version
    grows, keys move to it and none move between the others.
    """

    def drawn(version: str) -> tuple[float, str]:
        what = f"{len(name)} {len(version)} {name}{version}{key}".encode(errors="replace")
        number = int.from_bytes(blake2b(what, digest_size=6).digest()) + 0.5
        return -log(number / (1 << 48)) / weights[version], version

    return min(drawn(version) for version, weight in weights.items() if weight)[1]
