"""What a node measures of each outcome, and what its spans tell of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from modelmora.messages import ResultHead
from modelmora.serving import Incoming
from modelmora.telemetry import conventions as names
from modelmora.telemetry.spans import Spans

if TYPE_CHECKING:
    from modelmora.node.node import Node


class Ended:
    """Is told of each outcome of a request."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._spans = Spans.of(node.settings, "node", node.name)

    def note(self, request: Incoming, head: ResultHead) -> None:
        """A request has ended so."""
        node = self._node
        served = head.model if node.service.catalogue.named(head.model) else ""
        node.metrics.outcome(head, served)
        if self._spans:
            tell(self._spans, request, head)

    async def close(self) -> None:
        """Send the spans that are left."""
        if self._spans:
            await asyncio.to_thread(self._spans.close)


def tell(spans: Spans, request: Incoming, head: ResultHead) -> None:
    """The span of a request that has ended so, with its wait, its load and its time in a child."""
    record, spent = request.record, head.timings
    facts: dict[str, str | int | float] = {
        names.SYSTEM: "kafka",
        names.OPERATION: "process",
        names.DESTINATION: record.topic,
        names.PARTITION: str(record.partition),
        names.OFFSET: record.offset,
        names.REQUEST_ID: head.request_id,
        names.MODEL: head.model,
        names.VERSION: head.version,
        names.STATUS: head.status.value.lower(),
        names.ATTEMPT: head.attempt,
    }
    ran = spent.inference_ms
    total_ms = max(spent.total_ms, ran)
    parts = {
        "queue": (0.0, min(spent.queue_ms, total_ms)),
        "load": (max(total_ms - ran - spent.load_ms, 0.0), min(spent.load_ms, total_ms)),
        "child": (total_ms - ran, ran),
    }
    told = {name: part for name, part in parts.items() if part[1] > 0}
    error = head.error.code.value if head.error else ""
    spans.processed("process", request.traceparent, facts, total_ms, told, error)
