"""What a record costs in memory while it owes its outcome."""

from __future__ import annotations

from modelmora.serving import Record

REQUEST_COST = 1700
"""Bytes that a request costs in memory beside its value and headers."""


def cost_of(record: Record) -> int:
    """Bytes that the record costs while it is open."""
    cost = REQUEST_COST + len(record.value or b"")
    if record.headers:
        cost += sum(len(name) + len(value or b"") for name, value in record.headers)
    return cost
