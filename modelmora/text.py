"""Facts in words for people: names, counts, sizes, spans of time, strangers' text made harmless."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any


def printable(text: str | bytes) -> str:
    r"""A stranger's text on one line, nothing in it able to steer a terminal or forge a row.

    Control characters, line ends, bidirectional marks and lone surrogates appear as Python's
    escapes; bytes are read as UTF-8, those that are none appear as `\xNN`.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """`1 node`, `2 nodes`; the plural where an s is not enough."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"


def nearest(given: str, known: Iterable[str]) -> str | None:
    """The known name that was most likely meant; None where nothing is near."""
    # Without regard to case and separators: these are what is mistaken most.
    plain = {name.lower().replace("-", "_"): name for name in known}
    near = difflib.get_close_matches(given.lower().replace("-", "_"), plain, 1, 0.7)
    return plain[near[0]] if near else None


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """`; did you mean NAME?`, or nothing where no known name is near."""
    name = nearest(given, known)
    return f"; did you mean {name}?" if name else ""


def size(count: float) -> str:
    """Bytes in a unit that reads well."""
    for unit in ("B", "kB", "MB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 10 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def duration(milliseconds: float) -> str:
    """A time span in a unit that reads well."""
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.1f} ms"
    seconds = milliseconds / 1000
    if seconds < 100:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    for unit, part, length, most in (("min", "s", 60, 100), ("h", "min", 3600, 48)):
        if seconds < most * length:
            whole, rest = divmod(round(seconds * 60 / length), 60)
            return f"{whole} {unit} {rest} {part}" if rest else f"{whole} {unit}"
    return f"{seconds / 86_400:.3g} d"


def _moment(milliseconds: float) -> str:
    """A Unix time that a stranger may have told."""
    try:
        return iso(int(milliseconds))
    except (ValueError, OverflowError, OSError):
        return f"{milliseconds:g}"


_UNITS: Mapping[str, Callable[[float], str]] = {
    "_bytes": size,
    "_ms": duration,
    "_share": lambda share: f"{share:.1%}",
}


def measure(name: str, value: float) -> tuple[str, str]:
    """A number whose name ends with its unit: `load_ms` of 517.2 is ("load", "517ms").

    `since_ms` is no span but a Unix time.
    """
    if name == "since_ms":
        return "since", _moment(value)
    for unit, told in _UNITS.items():
        if name.endswith(unit):
            return name.removesuffix(unit), told(value).replace(" ", "")
    return name, f"{value:g}" if isinstance(value, float) else str(value)


def facts_line(facts: Mapping[str, Any]) -> str:
    """Facts on one line, in units that read well; unknown ones left out."""
    return " ".join("=".join(_fact(*each)) for each in facts.items() if each[1] is not None)


def _fact(name: str, value: Any) -> tuple[str, str]:
    if isinstance(value, bool):
        return name, "yes" if value else "no"
    if isinstance(value, int | float):
        return measure(name, value)
    return name, ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def shorten(text: str, width: int) -> str:
    """At most `width` characters, the cut shown."""
    return text if len(text) <= width else text[: width - 1] + "…"


def iso(milliseconds: int) -> str:
    """A Unix time in ms as RFC 3339 in local time; the number where no calendar has it."""
    found = local_time(milliseconds)
    return found.isoformat(timespec="milliseconds") if found else str(milliseconds)


def local_clock(milliseconds: int, form: str) -> str:
    """A Unix time in ms as local time in this form; the number where no calendar has it."""
    found = local_time(milliseconds)
    return found.strftime(form) if found else str(milliseconds)


def local_time(milliseconds: int) -> datetime | None:
    """A Unix time in ms, which strangers may have written; None where no calendar has it."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000).astimezone()
    except (ValueError, OverflowError, OSError):
        return None
