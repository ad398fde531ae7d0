"""The names in spans are those of OpenTelemetry's conventions, or say that they are ours."""

from __future__ import annotations

from importlib import import_module

from modelmora.telemetry import conventions

ROOMS = ("messaging", "gen_ai", "error")


def known() -> set[str]:
    found: set[str] = set()
    for room in ROOMS:
        module = import_module(f"opentelemetry.semconv._incubating.attributes.{room}_attributes")
        found |= {value for value in vars(module).values() if isinstance(value, str)}
    return found


def test_names_are_those_of_the_conventions_or_say_that_they_are_ours() -> None:
    told = {value for value in vars(conventions).values() if isinstance(value, str)}
    told |= {*conventions.TOKENS.values()}
    theirs = {name for name in told if name.startswith(tuple(f"{room}." for room in ROOMS))}
    assert len(theirs) > 10
    assert theirs <= known()
    dotted = {name for name in told if "." in name and " " not in name and "/" not in name}
    ours = {name for name in dotted - theirs if not name.startswith("modelmora.")}
    assert not ours
