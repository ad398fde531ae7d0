"""The child process: one model, one socket; loads, runs groups, answers micro-batch by micro-batch.

Entered by a fork of the zygote (`serve`), or as a program in a fresh interpreter:
`python -m modelmora.workers.child FD NODE_PID`.
"""

from __future__ import annotations

import gc
import importlib
import logging
import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modelmora.engines.base import Engine, LoadError, is_out_of_memory
from modelmora.errors import Code, RequestError
from modelmora.messages import Parameter
from modelmora.resources import private_memory
from modelmora.workers import linux, protocol
from modelmora.workers.execution import GroupRun, SafeSize, log, place_of
from modelmora.workers.protocol import FrameReader, Kind, ProtocolError, Run

EXIT_PROTOCOL = 71


class Inbox:
    """Frames from the node: runs in their order, cancels as they come."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._reader = FrameReader(protocol.TO_CHILD)
        self._runs: deque[Run] = deque()
        self._cancelled: dict[int, set[int]] = {}
        self.load: dict[str, Any] | None = None

    def wait_for_load(self) -> dict[str, Any]:
        """The LOAD that comes first. Raises EOFError once the node is gone."""
        while self.load is None:
            self._receive(0)
        return self.load

    def next_run(self) -> Run:
        """The next group, waited for. Raises EOFError once the node is gone."""
        while not self._runs:
            self._receive(0)
        return self._runs.popleft()

    def poll(self) -> None:
        """Take in what lies in the socket, without waiting."""
        while self._receive(socket.MSG_DONTWAIT):
            pass

    def is_cancelled(self, group: int, index: int) -> bool:
        """Whether this request has been taken back."""
        return index in self._cancelled[group]

    def done(self, group: int) -> None:
        """Forget the cancels of a group."""
        del self._cancelled[group]

    def _receive(self, flags: int) -> bool:
        try:
            count = self._sock.recv_into(self._reader.buffer(), 0, flags)
        except BlockingIOError:
            return False
        except ConnectionError:
            raise EOFError from None
        if count == 0:
            raise EOFError
        self._reader.received(count)
        for kind, body in self._reader.frames():
            self._take(kind, body)
        return True

    def _take(self, kind: Kind, body: memoryview) -> None:
        if kind is Kind.RUN:
            run = protocol.decode_run(body)
            self._cancelled[run.group] = set()
            self._runs.append(run)
        elif kind is Kind.CANCEL:
            group, index = protocol.decode_cancel(body)
            # A group that is done by now needs no cancel.
            self._cancelled.get(group, set()).add(index)
        else:
            self.load = protocol.decode_json(body)


class Outbox:
    """Answers of one group, sent as RESULTS frames at the end of each micro-batch."""

    def __init__(self, sock: socket.socket, group: int) -> None:
        self._sock = sock
        self._group = group
        self._items: list[bytes] = []
        self._bytes = 0

    def answer(
        self,
        index: int,
        outputs: bytes | None,
        error: RequestError | None,
        ms: float,
        settings: Mapping[str, Parameter],
    ) -> None:
        """Add one request's outcome."""
        ok = error is None
        payload = (outputs or b"") if error is None else protocol.encode_error(error)
        self._items.append(protocol.encode_item(index, ok, ms, payload, settings))
        self._bytes += len(payload)
        if self._bytes >= protocol.FRAME_TARGET:
            self.flush()

    def flush(self, last: bytes = b"") -> None:
        """Send what has gathered, and `last` behind it."""
        if self._items:
            last = protocol.encode_results(self._group, self._items) + last
            self._items, self._bytes = [], 0
        if last:
            self._sock.sendall(last)


class _GroupControl:
    def __init__(self, inbox: Inbox, outbox: Outbox, group: int) -> None:
        self.poll = inbox.poll
        self._inbox, self._outbox, self._group = inbox, outbox, group

    def is_cancelled(self, index: int) -> bool:
        return self._inbox.is_cancelled(self._group, index)

    def batch_done(self) -> None:
        self._outbox.flush()


def serve(sock: socket.socket, node: int) -> int:
    """Be one model's process until the node closes the socket; returns the exit code.

    The node ends a child by SIGKILL; should the node itself end, the child follows.
    """
    _settle(node)
    inbox = Inbox(sock)
    try:
        engine = _load(sock, inbox.wait_for_load())
        if engine is None:
            return 0
        safe = SafeSize()
        while True:
            _run_group(sock, inbox, engine, safe, inbox.next_run())
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return 0
    except ProtocolError as error:
        log.error("%s", error)
        return EXIT_PROTOCOL


def _settle(node: int) -> None:
    """What every child does first: die with the node, leave no core file, log to stderr."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if linux.supported:
        import resource

        linux.die_with_parent(node)
        linux.set_process_name("mm-child")
        # A core file would hold the content of requests.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.basicConfig(
        level=logging.WARNING, format=f"modelmora child {os.getpid()}: %(message)s", force=True
    )


def _load(sock: socket.socket, order: Mapping[str, Any]) -> Engine | None:
    """Make the engine and load the model; None after LOAD_FAILED was sent."""
    label = f"{order['name']}@{order['version']}"
    if linux.supported:
        linux.set_process_name(f"mm:{order['name']}")
    try:
        engine = make_engine(order["engine"])
        info = dict(engine.load(Path(order["path"]), order["options"]))
    except LoadError as error:
        _refuse(sock, error.code, error.message)
        return None
    except Exception as error:  # noqa: BLE001  # an engine may raise anything
        log.warning("%s cannot be loaded: %s", label, place_of(error), exc_info=error)
        _refuse(sock, *_load_fault(error))
        return None
    gc.collect()
    gc.freeze()
    info["private_bytes"] = private_memory(os.getpid())
    sock.sendall(protocol.encode_json(Kind.LOADED, info))
    return engine


def make_engine(name: str) -> Engine:
    """An engine by its `module:Class`. Raises ImportError, AttributeError."""
    module, _, cls = name.partition(":")
    engine: Engine = getattr(importlib.import_module(module), cls)()
    return engine


def _load_fault(error: Exception) -> tuple[Code, str]:
    if isinstance(error, ImportError) and error.name:
        return Code.MODEL_UNAVAILABLE, (
            f"the package {error.name} is missing on the node: pip install 'modelmora[engines]'"
        )
    if is_out_of_memory(error):
        return Code.OUT_OF_MEMORY, "the model does not fit in the memory of the node"
    return Code.MODEL_UNAVAILABLE, f"the model cannot be loaded ({place_of(error)}); see the log"


def _refuse(sock: socket.socket, code: Code, message: str) -> None:
    sock.sendall(protocol.encode_json(Kind.LOAD_FAILED, {"code": code.value, "message": message}))


def _run_group(sock: socket.socket, inbox: Inbox, engine: Engine, safe: SafeSize, run: Run) -> None:
    started = time.perf_counter()
    sock.sendall(protocol.encode_started(run.group))
    engine.use_threads(run.threads)
    outbox = Outbox(sock, run.group)
    control = _GroupControl(inbox, outbox, run.group)
    GroupRun(engine, run, safe, control, outbox.answer).execute()
    inbox.done(run.group)
    outbox.flush(protocol.encode_done(run.group, (time.perf_counter() - started) * 1e3))


def main(arguments: Sequence[str]) -> int:
    """Arguments: the socket's file descriptor and the node's pid."""
    return serve(socket.socket(fileno=int(arguments[0])), int(arguments[1]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
