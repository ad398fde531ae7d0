"""The options of our engines: one table, by which definitions are checked and engines read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from modelmora.engines.files import broken

MOST_SLOTS = 256
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OptionSpec:
    """What an option may be: a number within bounds, or a text."""

    type: type[int] | type[float] | type[str] | type[list[str]]
    minimum: float = 1
    maximum: float = 1 << 30

    def fault(self, value: object) -> str | None:
        """What it must be, where it is not."""
        if self.type is list:
            texts = isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)
            return None if texts or isinstance(value, str) else "a list of strings"
        if self.type is str:
            return None if isinstance(value, str) else "a string"
        accepted = (int, float) if self.type is float else (int,)
        if (
            isinstance(value, accepted)
            and not isinstance(value, bool)
            and self.minimum <= value <= self.maximum
        ):
            return None
        what = "a number" if self.type is float else "an integer"
        return f"{what} from {self.minimum} to {self.maximum}"


OPTIONS: Mapping[str, OptionSpec] = {
    "batch": OptionSpec(int, 1, 4096),
    "batch_size": OptionSpec(int, 1, 4096),
    "context_length": OptionSpec(int),
    "device": OptionSpec(str),
    "dtype": OptionSpec(str),
    "form": OptionSpec(str),
    "guidance": OptionSpec(float, 0, 50),
    "intra_op": OptionSpec(int, 0, 1024),
    "max_pixels": OptionSpec(int),
    "onnx": OptionSpec(str),
    "providers": OptionSpec(list),
    "slots": OptionSpec(int, 1, MOST_SLOTS),
    "steps": OptionSpec(int, 1, 150),
    "token_budget": OptionSpec(int),
    "token_pool": OptionSpec(int),
}
"""Of our engines, each under the name that it has with all of them."""


def option(options: Mapping[str, Any], name: str, default: T) -> T:
    """An option of our engines, or what counts where it is not told (or null).

    Raises LoadError (cannot_be_served) where it is not what the table says.
    """
    value = options.get(name)
    if value is None:
        return default
    if must := OPTIONS[name].fault(value):
        raise broken(f"its option `{name}` must be {must}")
    found: T = value
    return found


def check_options(what: str, options: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raises LoadError (cannot_be_served) where an engine takes no such option, or not such a one.

    What is told as null is not told.
    """
    taken = sorted(known)
    for name in (name for name, value in options.items() if value is not None):
        if name not in taken:
            names = ", ".join(taken) or "none"
            raise broken(f"{what} takes no option `{name[:96]}`; it knows: {names}")
        option(options, name, None)
