"""What batches were like: counted by the child, and taken by the node as far as it can be true."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmora.messages import BATCH_ROWS
from modelmora.workers import Batches, protocol
from modelmora.workers.batches import decode_batches, encode_batches
from modelmora.workers.child.mailbox import Inbox, StepDesk
from modelmora.workers.protocol import FrameReader, Kind, ProtocolError

BODY = struct.Struct(f"<QQQQ{len(BATCH_ROWS) + 1}I")


def body(rows: int, cost: int, padded: int, *counts: int) -> memoryview:
    filled = [*counts, *[0] * (len(BATCH_ROWS) + 1 - len(counts))]
    return memoryview(BODY.pack(9, rows, cost, padded, *filled))


@given(
    st.lists(st.tuples(st.integers(1, 5000), st.integers(0, 99), st.integers(0, 99)), max_size=9)
)
def test_batches_come_through(told: list[tuple[int, int, int]]) -> None:
    sent = Batches()
    for rows, cost, padding in told:
        sent.add(rows, cost, cost + padding)
    reader = FrameReader(protocol.TO_NODE)
    frame = encode_batches(9, sent)
    reader.buffer()[: len(frame)] = frame
    reader.received(len(frame))
    ((kind, read),) = reader.frames()
    assert (kind, decode_batches(read)) == (Kind.BATCHES, (9, sent))
    assert bool(sent) == bool(told)
    assert sum(sent.counts) == len(told)


def test_each_is_counted_by_the_smallest_bound_that_holds_it() -> None:
    found = Batches()
    for rows in (1, 2, 3, 4, 5, 1024, 1025):
        found.add(rows)
    assert found.counts == [1, 1, 2, 1, *[0] * 6, 1, 1]
    assert found.rows == 2064


@pytest.mark.parametrize(
    "told",
    [
        body(1, 0, 0, 2),
        body(1, 5, 4, 1),
        body(1 << 63, 0, 0, 1),
        body(1, 0, 1 << 63, 1),
        memoryview(b""),
        memoryview(bytes(BODY.size + 1)),
    ],
    ids=["fewer rows than batches", "negative padding", "rows", "cost", "nothing", "too long"],
)
def test_what_cannot_be_is_refused(told: memoryview) -> None:
    with pytest.raises(ProtocolError):
        decode_batches(told)


@given(st.binary(max_size=200) | st.binary(min_size=BODY.size, max_size=BODY.size))
def test_garbage_raises_nothing_but_a_protocol_error(told: bytes) -> None:
    try:
        decode_batches(memoryview(told))
    except ProtocolError:
        return


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    node, child = socket.socketpair()
    with node, child:
        yield node, child


@pytest.mark.parametrize(("order", "told"), [({}, 1), ({"batches": True}, 2)])
def test_a_node_of_an_earlier_release_is_told_nothing_of_them(
    ends: tuple[socket.socket, socket.socket], order: dict[str, bool], told: int
) -> None:
    node, child = ends
    inbox = Inbox(child)
    run = protocol.encode_run(1, 1, {}, [{"id": "r"}], [b""])
    node.sendall(protocol.encode_json(Kind.LOAD, order) + run)
    inbox.wait_for_load()
    inbox.next_run()
    batches = Batches()
    batches.add(3)
    desk = StepDesk(child, inbox)
    desk.done(1, 5.0, batches)
    desk.flush()
    reader = FrameReader(protocol.TO_NODE)
    reader.received(node.recv_into(reader.buffer()))
    assert len([*reader.frames()]) == told
