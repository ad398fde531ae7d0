"""A zygote and its children, spoken to by hand in an environment in which coverage sees them."""

from __future__ import annotations

import base64
import json
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from modelmora.errors import Code
from modelmora.messages import InferenceRequest, Parameter
from modelmora.sandbox import Mode
from modelmora.surroundings import interpreter
from modelmora.wire import encode_request
from modelmora.workers import linux, protocol
from modelmora.workers.child.serve import EXIT_PROTOCOL
from modelmora.workers.handle import CHILD, ZYGOTE, _spawn
from modelmora.workers.process import _order
from modelmora.workers.protocol import FrameReader, ItemResult, Kind
from tests.integration.worker_rig import Spec, spec_of

CAP_S = 60
VALUE = encode_request(InferenceRequest("r", "m", ("one",), progress=True))
COUNT = Spec(engine="modelmora.testing.stepped:Count")
pytestmark = pytest.mark.skipif(not linux.supported, reason="forks as Linux does")


class Child:
    """The node's end of a child."""

    def __init__(self, sock: socket.socket, wait: Callable[[], int]) -> None:
        self._sock, self._wait = sock, wait
        self._sock.settimeout(CAP_S)
        self._reader = FrameReader(protocol.TO_NODE)
        self._frames: list[tuple[Kind, bytes]] = []

    def load(self, spec: Spec, **changed: Any) -> tuple[Kind, dict[str, Any]]:
        """How a load ends, and what is said of it."""
        order = {**_order(spec, None, Mode.OFF), **changed}
        self.send(protocol.encode_json(Kind.LOAD, order))
        kind, body = self.until(Kind.LOADED, Kind.LOAD_FAILED)
        return kind, protocol.decode_json(memoryview(body))

    def run(self, group: int, **parameters: Parameter) -> None:
        self.send(protocol.encode_run(group, 1, parameters, [{"id": "r"}], [VALUE]))

    def send(self, frames: bytes) -> None:
        self._sock.sendall(frames)

    def until(self, *kinds: Kind) -> tuple[Kind, bytes]:
        """The next frame of these kinds."""
        while True:
            while self._frames:
                kind, body = self._frames.pop(0)
                if kind in kinds:
                    return kind, body
            count = self._sock.recv_into(self._reader.buffer())
            assert count, "the child is gone"
            self._reader.received(count)
            self._frames += [(kind, bytes(body)) for kind, body in self._reader.frames()]

    def result(self) -> ItemResult:
        """The result of the one request of a group, once the group is done."""
        (result,) = protocol.decode_results(memoryview(self.until(Kind.RESULTS)[1]))[1]
        self.until(Kind.GROUP_DONE)
        return result

    def end(self) -> int:
        """Its exit code once the node is gone."""
        self._sock.close()
        return self._wait()


def fresh() -> Child:
    """A child that was not forked."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = _spawn(interpreter(CHILD), theirs, os.environ, "")
    return Child(ours, lambda: process.wait(CAP_S))


class Zygote:
    """The node's end of a zygote."""

    def __init__(self, *modules: str) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(CAP_S)
        with theirs:
            self._process = _spawn(interpreter(ZYGOTE), theirs, os.environ, "", *modules)
        self.ready = self.hear()["ready"]

    def hear(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self._control.recv(1 << 16))
        return said

    def ping(self) -> dict[str, Any]:
        self._control.send(b'{"ping": true}')
        return self.hear()

    def fork(self) -> Child:
        ours, theirs = socket.socketpair()
        asked = {"fork": 7, "environment": {"MARK": "1", "LANG": None}}
        with theirs:
            socket.send_fds(self._control, [json.dumps(asked).encode()], [theirs.fileno()])
        said = self.hear()
        assert said["token"] == 7
        return Child(ours, lambda: os.waitstatus_to_exitcode(os.waitpid(said["pid"], 0)[1]))

    def end(self) -> int:
        """Its exit code once the node is gone."""
        self._control.close()
        return self._process.wait(CAP_S)


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    linux.become_subreaper()
    made = Zygote("json.tool", "no.such.module")
    try:
        yield made
        assert made.end() == 0
    finally:
        made.end()
        linux.become_subreaper(on=False)


def test_children_load_run_and_end_with_the_node(zygote: Zygote) -> None:
    assert (zygote.ready["threads"], zygote.ready["missing"]) == (1, ["no.such.module"])
    assert zygote.ping() == {"alive": True}
    first, second = zygote.fork(), zygote.fork()
    warm_up = base64.b64encode(VALUE).decode()
    kind, info = first.load(spec_of("sleep"), warm_up=warm_up)
    assert kind is Kind.LOADED, info
    assert info["warm_up_ms"] > 0
    for group in (1, 2):
        first.run(group, ms=1)
        result = first.result()
        assert (result.error, bool(result.outputs)) == (None, True)
    assert second.load(COUNT)[0] is Kind.LOADED
    second.run(1, words=3)
    second.until(Kind.STARTED)
    chunk = protocol.decode_chunk(memoryview(second.until(Kind.CHUNK)[1]))[1]
    assert chunk.text == "0 "
    assert second.result().error is None
    second.run(2, words=1_000_000)
    second.until(Kind.CHUNK)
    second.send(protocol.encode_cancel(2, 0))
    gone = second.result().error
    assert gone is not None
    assert gone.code is Code.CANCELLED
    assert [child.end() for child in (first, second)] == [0, 0]


REFUSED: tuple[tuple[dict[str, Any], Code], ...] = (
    ({"path": "/no/such/folder"}, Code.CANNOT_BE_SERVED),
    ({"engine": "no.such.module:Engine"}, Code.MODEL_UNAVAILABLE),
    ({"options": None}, Code.MODEL_UNAVAILABLE),
    ({"warm_up": "AA=="}, Code.MODEL_UNAVAILABLE),
)


def test_a_load_that_fails_is_told_and_the_child_ends(zygote: Zygote) -> None:
    for changed, code in REFUSED:
        child = zygote.fork()
        kind, told = child.load(Spec(), **changed)
        assert (kind, told["code"]) == (Kind.LOAD_FAILED, code.value), changed
        assert child.end() == 0


def test_a_frame_that_breaks_the_rules_ends_a_child_however_it_began(zygote: Zygote) -> None:
    for child in (zygote.fork(), fresh()):
        child.send(protocol.frame(Kind.CANCEL))
        assert child.end() == EXIT_PROTOCOL
