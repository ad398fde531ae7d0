"""Traces that verbs play, and the budgets of memory they play them with."""

from __future__ import annotations

import re
from pathlib import Path

from modelmora.cli.shared.output import say
from modelmora.diagnostics.recording import costs_of
from modelmora.errors import ConfigurationError, Invalid
from modelmora.records import Registry
from modelmora.simulate import Trace, read_trace
from modelmora.text import size

UNITS = {"": 1} | {
    f"{letter}{form}": base**power
    for power, letter in enumerate("kMGT", 1)
    for form, base in (("", 1000), ("B", 1000), ("i", 1024), ("iB", 1024))
}


def read(path: Path, registry: Registry) -> Trace:
    """The trace of a file. Raises Invalid."""
    try:
        with path.open("rb") as lines:
            return read_trace(lines, costs_of(registry))
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}") from None
    except Invalid as error:
        raise Invalid(f"{path}: {error}") from None


def bytes_of(given: str) -> int:
    """`4G`, `512Mi`, `8000000000` as bytes. Raises ConfigurationError."""
    found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?)\s*([A-Za-z]{0,3})", given.strip(), re.ASCII)
    units = {unit.lower(): factor for unit, factor in UNITS.items()}
    factor = units.get(found[2].lower()) if found else None
    count = int(float(found[1]) * factor) if found and factor else 0
    if not 0 < count < 1 << 60:
        raise ConfigurationError(f"--memory {given} must be bytes, such as 4G, 512Mi or 4G,8G,16G")
    return count


def say_no_room(trace: Trace, memory: int) -> None:
    """Name the models that so much memory (bytes) has no room for."""
    if large := [name for name, cost in trace.models.items() if (cost.bytes or 0) > memory]:
        say(f"with {size(memory)} there is no room for {', '.join(large)}")
