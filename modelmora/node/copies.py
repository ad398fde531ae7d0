"""Who copies requests for versions that are compared, from the parts of a node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelmora.access.secrets import cluster_signer_of
from modelmora.agents.shadows.copier import Copier
from modelmora.agents.shadows.copying import Copying

if TYPE_CHECKING:
    from modelmora.node.node import Node


def copier_of(node: Node) -> Copier:
    """The copier of a node, which asks for rights as the node does."""
    settings, teller, state = node.settings, node.teller, node.models.state
    signer, forbids = cluster_signer_of(settings), node.service.forbids
    copying = Copying(settings, node.verifier, signer, forbids, node.schemas)
    told = (teller.send, state.routes, node.clock.now_ms, lambda: teller.backlog)
    return Copier(settings, copying, *told, node.metrics.copied)
