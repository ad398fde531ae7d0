"""The trace that a caller's calls go on with; OpenTelemetry is asked only where it is loaded."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from modelmora.errors import Invalid
from modelmora.messages.headers import TRACEPARENT
from modelmora.messages.traceparent import is_traceparent, named

_given: ContextVar[str] = ContextVar("modelmora_traceparent", default="")


@contextmanager
def tracing(traceparent: str) -> Iterator[None]:
    """Calls that are begun inside go on with the trace that this W3C `traceparent` names.

    It counts in this thread, or asyncio task, and comes before the span that OpenTelemetry has
    there. Raises Invalid for what names no span.
    """
    if not is_traceparent(traceparent):
        raise Invalid(
            "traceparent: 00-, 32 hexadecimal digits of the trace, 16 of the span and 2 of flags "
            "are needed, in lower case and with - between"
        )
    token = _given.set(traceparent)
    try:
        yield
    finally:
        _given.reset(token)


def current() -> str:
    """What a call that begins now goes on with; "" where there is no trace."""
    return _given.get() or _of_opentelemetry()


def trace_metadata() -> tuple[tuple[str, str], ...]:
    """What a call is sent with beside its options."""
    return ((TRACEPARENT, found),) if (found := current()) else ()


def _of_opentelemetry() -> str:
    """The span in which the program is, if it uses OpenTelemetry: else nothing of it is loaded."""
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return ""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return ""
    return named(context.trace_id, context.span_id, sampled=bool(context.trace_flags & 1))
