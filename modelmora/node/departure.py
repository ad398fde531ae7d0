"""How a node that stops hands over: others load first, what has started is finished, it is told."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import structlog

from modelmora.kafka.topics import Topic
from modelmora.messages import Parameter

if TYPE_CHECKING:
    from modelmora.node.node import Node

log = structlog.get_logger(__name__)
ASKED = "it was asked to stop"


class Departure:
    """Of one node; `why` says what it ends for by itself, None where it was asked to."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.why: str | None = None
        self._began = time.monotonic()
        self._answered = self._unanswered = 0
        self._warm_up_ms = self._drain_ms = 0

    async def hand_over(self) -> None:
        """Serve on until others have loaded what is in use here; then finish what has started.

        A node that ends because it has failed waits for nobody.
        """
        node, timing = self._node, self._node.settings.timing
        self._began, before = time.monotonic(), node.metrics.ended
        node.presence.leave()
        await node.warming.leave(0.0 if self.why else min(timing.warm_up_s, timing.drain_s / 2))
        self._warm_up_ms = self._since_ms()
        node.models.measured(last=True)
        node.requests.close()
        owned = node.intake.partitions()
        node.requests.drop(owned, started=False)
        if not await node.service.drain(owned, timing.drain_s):
            log.warning("started work is not finished; it is answered, or left to other nodes")
            node.service.stop(node.hand_on.is_elsewhere)
        if node.shelf:
            await node.shelf.moving.drain(timing.drain_s)
        await node.acknowledged(node.publisher)
        self._drain_ms = self._since_ms() - self._warm_up_ms
        copies = node.intake.open_on(Topic.SHADOW.full(node.settings.namespace))
        self._unanswered = node.intake.open_requests - copies
        self._answered = node.metrics.ended - before

    def facts(self) -> Mapping[str, Parameter]:
        """What is told of it, once it is over."""
        return {
            "reason": self.why or ASKED,
            "answered": self._answered,
            "unanswered": self._unanswered,
            "warm_up_ms": self._warm_up_ms,
            "drain_ms": self._drain_ms,
            "stop_ms": self._since_ms(),
        }

    def _since_ms(self) -> int:
        return round((time.monotonic() - self._began) * 1000)
