"""Which requests a cancel is meant for: those that were there before it, of who took them back."""

from __future__ import annotations

from collections import OrderedDict
from math import inf
from typing import NamedTuple

from modelmora.serving.request import Incoming

REMEMBERED = 100_000


class Cancel(NamedTuple):
    """A cancel by the broker's clock (Unix ms); whose requests it is for, and of which gateway.

    None means all.
    """

    at_ms: float = inf
    principal: str | None = None
    gateway: str | None = None

    def hits(self, request: Incoming) -> bool:
        """Whether it ends the request: never one that was asked after it."""
        return (
            request.asked_ms <= self.at_ms
            and self.principal in (None, request.principal)
            and self.gateway in (None, request.gateway)
        )


class Cancels:
    """The newest cancels, for requests that are read after them."""

    def __init__(self) -> None:
        self._by_id: OrderedDict[str, list[Cancel]] = OrderedDict()

    def add(self, request_id: str, cancel: Cancel) -> None:
        """Remember a cancel; the oldest id is forgotten with too many."""
        known = self._by_id.setdefault(request_id, [])
        # The later one of the same kind is for all that the earlier is for.
        self._by_id[request_id] = [each for each in known if each[1:] != cancel[1:]] + [cancel]
        self._by_id.move_to_end(request_id)
        if len(self._by_id) > REMEMBERED:
            self._by_id.popitem(last=False)

    def hit(self, request: Incoming) -> bool:
        """Whether the request was taken back."""
        known = self._by_id.get(request.head.request_id)
        return known is not None and any(each.hits(request) for each in known)
