"""W3C trace context: the caller's `traceparent` where it is valid, else a new one."""

from __future__ import annotations

import os
import re

from modelmora.messages.headers import NewTrace

# https://www.w3.org/TR/trace-context/ section 3.2: version 00, neither id all zeros.
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def traceparent_of(given: str | None) -> str:
    """The given header, or a new unsampled trace where there is none or it is malformed."""
    if given and _TRACEPARENT.fullmatch(given):
        return given
    random = os.urandom(24).hex()
    return NewTrace(f"00-{random[:32]}-{random[32:]}-00")


def trace_id_of(traceparent: str) -> str:
    """The 32 hexadecimal digits that name the trace."""
    return traceparent[3:35]
