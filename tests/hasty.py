"""`python -m tests.hasty`: a node that reads what was put off after seconds instead of minutes."""

from __future__ import annotations

from modelmora.kafka.topics import TIERS, Topic
from modelmora.node.__main__ import main
from tests.nodes import NodeProcess

DELAYS = {Topic.RETRY_SOON: 1_000, Topic.RETRY_LATER: 2_000}


class HastyNode(NodeProcess):
    """Such a node."""

    module = "tests.hasty"


if __name__ == "__main__":
    TIERS.update(DELAYS)
    main()
