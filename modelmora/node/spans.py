"""What a node measures of each outcome, and what its spans tell of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from modelmora.agents.results import Sender
from modelmora.kafka.topics import Topic
from modelmora.kafka.writing.publisher import Record as Outgoing
from modelmora.messages import ResultHead
from modelmora.messages.traceparent import is_sampled, is_unsampled, new_trace
from modelmora.node.metrics import tokens_of
from modelmora.scheduling import Group, ModelKey
from modelmora.serving import Incoming
from modelmora.telemetry import conventions as names
from modelmora.telemetry.spans import Spans
from modelmora.telemetry.writing import follow

if TYPE_CHECKING:
    from modelmora.node.node import Node


class Ended:
    """Is told of each outcome of a request."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._spans = Spans.of(node.settings, "node", node.name)

    def note(self, request: Incoming, head: ResultHead) -> None:
        """A request has ended so; what is written of that names its span."""
        node = self._node
        served = head.model if node.service.catalogue.named(head.model) else ""
        if self._spans and not is_unsampled(request.traceparent):
            request.traceparent = tell(self._spans, request, head, node.settings.group)
        node.metrics.outcome(head, served, request.traceparent)

    def sender(self, sender: Sender) -> Sender:
        """The same, with a span of each record that it writes, where there are spans."""
        if not self._spans:
            return sender
        return _Sender(self._spans, sender, self._node.settings.namespace)

    def watch(self) -> None:
        """Have batches told, where there are spans; to be called once the node has its service."""
        if self._spans:
            self._node.service.watch(Batches(self._spans))

    async def close(self) -> None:
        """Send the spans that are left."""
        if self._spans:
            await asyncio.to_thread(self._spans.close)


class _Sender:
    """Writes records, each with a span; dead letters keep the headers of their record."""

    def __init__(self, spans: Spans, sender: Sender, namespace: str) -> None:
        self._spans = spans
        self._sender = sender
        self._kept = {Topic.DEAD_LETTERS.full(namespace)}

    def send(self, record: Outgoing) -> None:
        """Take a record, and what goes before it; returns at once."""
        for each in record.parts:
            follow(self._spans, each, self._kept)
        self._sender.send(record)


class Batches:
    """A span for each group of several requests, if one of these at least is recorded.

    It begins a trace of its own, since it belongs to all of theirs, and is linked with what has
    caused each of them.
    """

    def __init__(self, spans: Spans) -> None:
        self._spans = spans
        self._open: dict[tuple[int, int], tuple[str, list[str], ModelKey]] = {}

    def begun(self, group: Group) -> None:
        """A group is handed to its child; its requests say in which batch they run."""
        requests = [cast("Incoming", work.meta) for work in group.works]
        causes = [each.traceparent for each in requests]
        batch = new_trace(sampled=True) if len(causes) > 1 and any(map(is_sampled, causes)) else ""
        for each in requests:
            each.batch = batch
        if batch:
            self._open[group.replica, group.id] = batch, causes, group.model

    def done(self, replica: int, group: int, run_ms: float) -> None:
        """It was run, for so long."""
        found = self._open.pop((replica, group), None)
        if found is None:
            return
        batch, causes, (name, version) = found
        facts: names.Facts = {names.MODEL: name, names.VERSION: version}
        facts[names.MESSAGES] = len(causes)
        self._spans.ran(names.BATCH, batch, causes, facts, run_ms)

    def gone(self, replica: int) -> None:
        """What its child has not run to the end is no batch."""
        for each in [each for each in self._open if each[0] == replica]:
            del self._open[each]


def tell(spans: Spans, request: Incoming, head: ResultHead, group: str) -> str:
    """The span of a request that has ended so, with its wait, its load and its time in a child.

    Returns the `traceparent` that names it.
    """
    record, spent = request.record, head.timings
    facts = names.message(names.PROCESS, record.topic, record.partition, record.offset) | {
        names.GROUP: group,
        names.REQUEST_ID: head.request_id,
        names.MODEL: head.model,
        names.VERSION: head.version,
        names.STATUS: head.status.value.lower(),
        names.ATTEMPT: head.attempt,
    }
    facts |= {names.TOKENS[kind]: count for kind, count in tokens_of(head)}
    ran = spent.inference_ms
    total_ms = max(spent.total_ms, ran)
    parts = {
        names.QUEUE: (0.0, min(spent.queue_ms, total_ms)),
        names.LOAD: (max(total_ms - ran - spent.load_ms, 0.0), min(spent.load_ms, total_ms)),
        names.CHILD: (total_ms - ran, ran),
    }
    told = {name: part for name, part in parts.items() if part[1] > 0}
    error = head.error.code.value if head.error else ""
    name = names.named(names.PROCESS, record.topic)
    links = {names.CHILD: request.batch}
    return spans.processed(name, request.traceparent, facts, total_ms, told, error, links)
