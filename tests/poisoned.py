"""`python -m tests.poisoned`: a node that some requests kill when they are decoded (SIGKILL)."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from modelmora.agents import requests
from modelmora.node.__main__ import main
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


def decode_or_die(value: bytes | None) -> Any:
    """Decode it, if the process lives so long."""
    if value and POISON.encode() in value:
        os.kill(os.getpid(), signal.SIGKILL)
    return _decode(value)


_decode = requests.decode_request_head

if __name__ == "__main__":
    requests.decode_request_head = decode_or_die
    main()
