"""What a record costs in memory while it owes its outcome."""

from __future__ import annotations

from modelmora.messages.headers import LOCAL, PRINCIPAL
from modelmora.serving import Record

_LOCAL = LOCAL.encode()
REQUEST_COST = 2600
"""Bytes that a request costs in memory beside its value and headers, as measured."""
_HEADER_COST = 120
_TURN_COST = 1300
"""Bytes of its principal's place in line, which no other request may share."""


def cost_of(record: Record) -> int:
    """Bytes that the record costs while it is open."""
    cost = REQUEST_COST + len(record.value or b"")
    for name, value in record.headers or ():
        cost += _HEADER_COST + len(name) + len(value or b"")
        if name == PRINCIPAL and value != _LOCAL:
            cost += _TURN_COST
    return cost
