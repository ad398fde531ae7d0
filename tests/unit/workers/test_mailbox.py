"""What the node says of threads reaches the engine: the latest word, once, between two batches."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress

import pytest

from modelmora.engines.base import Step
from modelmora.messages import InferenceRequest
from modelmora.wire import encode_request
from modelmora.workers import protocol
from modelmora.workers.child.mailbox import GroupDesk, Inbox, Outbox
from modelmora.workers.child.serve import _run_steps
from tests.unit.workers.test_stepping import Speller

RUNS = b"".join(protocol.encode_run(group, 4, {}, [{"id": "r"}], [b""]) for group in (1, 2))


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, Inbox]]:
    node, child = socket.socketpair()
    with node, child:
        yield node, Inbox(child)


def test_the_latest_word_counts_and_is_passed_on_once(ends: tuple[socket.socket, Inbox]) -> None:
    node, inbox = ends
    used: list[int] = []
    inbox.share_cores(used.append)
    assert used == [], "nobody has said anything"
    node.sendall(RUNS)
    inbox.next_run()
    inbox.share_cores(used.append)
    node.sendall(protocol.encode_threads(3) + protocol.encode_threads(2))
    desk = GroupDesk(inbox, Outbox(node, 1), 1, used.append)
    for _ in range(3):
        desk.poll()
    assert used == [4, 2]
    assert inbox.next_run().threads == 4
    inbox.share_cores(used.append)
    assert used == [4, 2], "the second group was sent before that was said"
    node.sendall(protocol.encode_run(3, 4, {}, [{"id": "r"}], [b""]))
    inbox.next_run()
    inbox.share_cores(used.append)
    assert used == [4, 2, 4]


def test_a_stepped_engine_hears_of_threads_between_two_steps(
    ends: tuple[socket.socket, Inbox],
) -> None:
    node, inbox = ends

    class Slow(Speller):
        def __init__(self) -> None:
            super().__init__()
            self.stepping, self.told = threading.Event(), threading.Event()

        def step(self) -> Sequence[Step]:
            self.stepping.set()
            assert self.told.wait(60)
            return super().step()

    engine = Slow()

    def serve() -> None:
        with suppress(EOFError):
            _run_steps(inbox._sock, inbox, engine)

    child = threading.Thread(target=serve)
    child.start()
    node.settimeout(60)
    value = encode_request(InferenceRequest("r", "m", ("abc",)))
    node.sendall(protocol.encode_run(1, 4, {}, [{"id": "r"}], [value]))
    assert engine.stepping.wait(60)
    node.sendall(protocol.encode_threads(2))
    engine.told.set()
    said, done = b"", protocol.encode_done(1, 0.0)[: protocol.HEADER.size]
    while done not in said:
        said += node.recv(1 << 16)
    node.shutdown(socket.SHUT_WR)
    child.join(60)
    assert engine.threads == [4, 2]
