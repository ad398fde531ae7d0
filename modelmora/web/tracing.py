"""W3C trace context: the caller's `traceparent` where it is valid, else a new one."""

from __future__ import annotations

from modelmora.messages.headers import NewTrace
from modelmora.messages.traceparent import is_traceparent, new_trace, trace_id_of

__all__ = ["trace_id_of", "traceparent_of"]


def traceparent_of(given: str | None) -> str:
    """The given header, or a new unsampled trace where there is none or it is malformed."""
    return given if given and is_traceparent(given) else NewTrace(new_trace(sampled=False))
