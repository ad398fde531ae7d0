"""Who judges canaries in a node: put together, and told what the registry tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelmora.agents.models.agreeing import Agreements
from modelmora.agents.models.judging import Judge
from modelmora.agents.models.outcomes import Outcomes
from modelmora.agents.stored import Stored

if TYPE_CHECKING:
    from modelmora.node.node import Node


def judge_of(node: Node) -> Judge:
    """The judge of a node, to be run while it reads."""
    read = (node.settings, node.pulse, node.schemas)
    outcomes, agreements = Outcomes(*read), Agreements(*read, Stored(*read))
    models = node.models
    known = (node.settings.namespace, models.state, models.declaring.leases, outcomes, agreements)
    told = (node.teller, node.lifecycle, node.audit.tell)
    judge = Judge(node.name, *known, *told, node.clock.now_ms)
    node.control.on_fact = judge.heard
    return judge
