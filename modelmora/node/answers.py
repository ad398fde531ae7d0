"""Where outcomes go: those of requests, and those of copies."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from modelmora.access.secrets import cluster_signer_of, verifier_of
from modelmora.agents.copies import Copies
from modelmora.agents.probes import Probes
from modelmora.agents.results import Results
from modelmora.agents.retries import Retries
from modelmora.agents.shadows.gate import Gate
from modelmora.agents.shadows.outcomes import Apart, Compared
from modelmora.kafka.topics import Topic
from modelmora.messages import ResultHead
from modelmora.serving import Incoming

if TYPE_CHECKING:
    from modelmora.node.node import Node


class Answers:
    """What a node writes of each request that it has read, and who proves whose that is."""

    def __init__(self, node: Node, on_outcome: Callable[[Incoming, ResultHead], None]) -> None:
        """`on_outcome` is told of each outcome of a request."""
        settings, mover = node.settings, node.shelf.moving if node.shelf else None
        self.verifier, signer = verifier_of(settings), cluster_signer_of(settings)
        namespace, metrics = settings.namespace, node.metrics
        sender = node.ended.sender(node.publisher)
        parts = (sender, node.teller, node.twins, node.clock, node.lifecycle)
        copies = Copies(namespace, settings.reply_topics, metrics.no_reply)
        self.results = Results(*parts, namespace, copies, mover, signer)
        self.results.on_outcome = on_outcome
        self.retries = self.results.again = Retries(settings, node.clock, self.results)
        self.gate = Gate(settings.shadow, node.intake, node.clock, metrics.copied)
        known = (node.publisher, node.intake, node.clock, Topic.RESULTS.full(namespace))
        self.probes = Probes(*known, self.verifier)
        owed = (node.publisher, node.intake, node.clock, namespace, self.gate, metrics.copied)
        self.all = Apart(self.results, Compared(*owed), Topic.SHADOW.full(namespace))
        """Both, each told apart."""
