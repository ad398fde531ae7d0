"""`python -m tests.hasty`: a node that reads what was put off after seconds instead of minutes."""

from __future__ import annotations

import os

from modelmora.kafka.topics import TIERS, Topic
from modelmora.node.__main__ import main
from tests.nodes import NodeProcess

LATER_MS = "HASTY_LATER_MS"
"""The variable that says how long the longer delay is."""
DELAYS = {Topic.RETRY_SOON: 1_000, Topic.RETRY_LATER: int(os.environ.get(LATER_MS, "2000"))}


class HastyNode(NodeProcess):
    """Such a node."""

    module = "tests.hasty"


if __name__ == "__main__":
    TIERS.update(DELAYS)
    main()
