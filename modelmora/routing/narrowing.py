"""What is left of a route when a version of it is not there; pure."""

from __future__ import annotations

from collections.abc import Callable

from modelmora.routing.choosing import Steps
from modelmora.settings.routes import Route


def narrowed(route: Route, is_there: Callable[[str], bool]) -> Route | None:
    """The route without the versions that are not there; None where none is left to weigh.

    A rule for one of those does not fit any more, and its requests go by weight. It gets no copies.
    """
    weights = {version: w for version, w in route.weights.items() if is_there(version)}
    if not any(weights.values()):
        return None
    rules = tuple(rule for rule in route.rules if is_there(rule.version))
    shadow = {version: share for version, share in route.shadow.items() if is_there(version)}
    left = (weights, rules, shadow)
    if [*map(len, left)] == [len(route.weights), len(route.rules), len(route.shadow)]:
        return route
    return Route(weights=weights, sticky=route.sticky, rules=rules, shadow=shadow)


def all_narrowed(steps: Steps, is_there: Callable[[str], bool]) -> Steps:
    """The steps, each without what is not there.

    Where nothing is left of one, what it would answer is answered as by the last of which
    something is: else all that waits for a version would be refused when it is retired.
    """
    found = [(since_ms, narrowed(route, is_there)) for since_ms, route in steps]
    last = next((route for _, route in reversed(found) if route), None)
    if last is None:
        return ()
    return tuple((since_ms, route or last) for since_ms, route in found)
