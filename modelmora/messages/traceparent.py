"""The header `traceparent`, which names a span of a trace, as W3C's trace context has it."""

from __future__ import annotations

import os
import re

# https://www.w3.org/TR/trace-context/ section 3.2: version 00, neither id all zeros.
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def is_traceparent(text: str) -> bool:
    """Whether it names a span."""
    return _TRACEPARENT.fullmatch(text) is not None


def is_sampled(text: str) -> bool:
    """Whether it names a span that is recorded."""
    return is_traceparent(text) and bool(int(text[53:], 16) & 1)


def is_unsampled(text: str) -> bool:
    """Whether it names a span that is not recorded; what names none is for others to decide."""
    return is_traceparent(text) and not int(text[53:], 16) & 1


def ids_of(text: str) -> tuple[int, int]:
    """The trace and the span that one names which is well formed."""
    return int(text[3:35], 16), int(text[36:52], 16)


def trace_id_of(text: str) -> str:
    """The 32 hexadecimal digits that name the trace."""
    return text[3:35]


def sibling(text: str) -> str:
    """A new span of the same trace, recorded where that one is."""
    return f"{text[:36]}{_digits(8)}{text[52:]}"


def named(trace: int, span: int, *, sampled: bool) -> str:
    """That of the span with these ids."""
    return f"00-{trace:032x}-{span:016x}-0{int(sampled)}"


def new_trace(*, sampled: bool) -> str:
    """A new span of a new trace."""
    return f"00-{_digits(16)}-{_digits(8)}-0{int(sampled)}"


def _digits(count: int) -> str:
    """So many random bytes as hexadecimal digits, which are not all zeros."""
    return (int.from_bytes(os.urandom(count)) or 1).to_bytes(count).hex()
