"""Routes as people write and read them on a command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelmora.errors import ConfigurationError

LANE = "lane"


def shares(route: Mapping[str, Any]) -> str:
    """The versions that answer, each with its share, such as `1 95 %, 2 5 %`."""
    weights = {version: weight for version, weight in route["weights"].items() if weight}
    whole = sum(weights.values())
    if len(weights) == 1:
        return str(next(iter(weights)))
    return ", ".join(
        f"{version} {100 * weight / whole:.3g} %" for version, weight in weights.items()
    )


def shadows(route: Mapping[str, Any]) -> str | None:
    """The versions that get copies, each with its part of the requests, such as `2 10 %`."""
    return ", ".join(f"{version} {part} %" for version, part in route["shadow"].items()) or None


def idle_shadows(route: Mapping[str, Any]) -> list[str]:
    """The versions that would get copies of nothing but what they answer themselves."""
    weights = {version for version, weight in route["weights"].items() if weight}
    answering = weights | {rule["version"] for rule in route["rules"]}
    return [version for version in route["shadow"] if answering == {version}]


def read_shadows(given: Sequence[str]) -> dict[str, int]:
    """`VERSION=PERCENT` of each. Raises ConfigurationError."""
    found: dict[str, int] = {}
    for each in given:
        version, _, part = each.rpartition("=")
        if not (version and part.isascii() and part.isdecimal() and 0 < int(part[:4]) <= 100):
            raise ConfigurationError(f"{each} must be VERSION=PERCENT, such as 2=10, of 1 to 100")
        if version in found:
            raise ConfigurationError(f"{version} has two parts of the requests")
        found[version] = int(part)
    return found


def rule_text(rule: Mapping[str, Any]) -> str:
    """A rule as `read_rule` takes it."""
    header, value, lane = rule["header"], rule["value"], rule[LANE]
    asked = [header if value is None else f"{header}={value}"] if header else []
    asked += [f"{LANE}={lane}"] if lane else []
    return f"{','.join(asked)}:{rule['version']}"


def read_weights(given: Sequence[str]) -> dict[str, int]:
    """`VERSION=WEIGHT` of each; a version alone answers all. Raises ConfigurationError."""
    if len(given) == 1 and "=" not in given[0]:
        return {given[0]: 1}
    found: dict[str, int] = {}
    for each in given:
        version, _, weight = each.rpartition("=")
        if not (version and weight.isascii() and weight.isdecimal() and len(weight) < 10):
            raise ConfigurationError(f"{each} must be VERSION=WEIGHT, such as 2=5")
        if version in found:
            raise ConfigurationError(f"{version} has two weights")
        found[version] = int(weight)
    return found


def read_rule(given: str) -> dict[str, str]:
    """`HEADER=VALUE:VERSION`, `HEADER:VERSION` or `lane=LANE:VERSION`, or a header and a lane.

    Raises ConfigurationError.
    """
    asked, *last = given.rsplit(":", 1)
    version = last[0] if last else ""
    rule = {"version": version}
    for each in asked.split(","):
        name, equals, value = each.partition("=")
        if name == LANE and LANE not in rule:
            rule[LANE] = value
        elif name not in ("", LANE) and "header" not in rule:
            rule |= {"header": name} | ({"value": value} if equals else {})
        else:
            asked = ""
    if not (asked and version):
        raise ConfigurationError(
            f"{given} must be HEADER=VALUE:VERSION or lane=LANE:VERSION, such as x-cohort=beta:2"
        )
    return rule
