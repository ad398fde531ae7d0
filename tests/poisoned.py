"""`python -m tests.poisoned`: a node that some requests kill when they are decoded (SIGKILL)."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from modelmora.agents.requests import Requests
from modelmora.node.__main__ import main
from modelmora.serving import Record
from tests.nodes import NodeProcess

POISON = "it ends the node"
"""What such a request asks a model."""


class FrailNode(NodeProcess):
    """Such a node."""

    module = "tests.poisoned"
    deaths = 0


@contextmanager
def kept_up(nodes: Iterable[FrailNode]) -> Iterator[None]:
    """Start each again whenever it has died, as a supervisor does, and count that."""
    over = threading.Event()

    def watch(node: FrailNode) -> None:
        while not over.wait(0.1):
            if not node.running:
                node.wait()
                node.deaths += 1
                node.start()

    watches = [threading.Thread(target=watch, args=(node,)) for node in nodes]
    for each in watches:
        each.start()
    try:
        yield
    finally:
        over.set()
        for each in watches:
            each.join()


def take_or_die(self: Requests, record: Record) -> None:
    """Decode it, if the process lives so long."""
    if POISON.encode() in (record.value or b""):
        os.kill(os.getpid(), signal.SIGKILL)
    _take(self, record)


_take = Requests._take

if __name__ == "__main__":
    Requests._take = take_or_die  # type: ignore[method-assign]
    main()
