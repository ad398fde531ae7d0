"""A child's end of the socket: orders come in, answers go out."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from modelmora.errors import RequestError
from modelmora.messages import Parameter
from modelmora.workers import protocol
from modelmora.workers.batches import Batches, encode_batches
from modelmora.workers.chunks import Chunk
from modelmora.workers.protocol import FrameReader, Kind, Run


class Inbox:
    """Frames from the node: runs in their order, cancels as they come."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._reader = FrameReader(protocol.TO_CHILD)
        self._runs: deque[Run] = deque()
        self._cancelled: dict[int, set[int]] = {}
        self._threads = self._used = 0
        self.load: dict[str, Any] | None = None

    def wait_for_load(self) -> dict[str, Any]:
        """The LOAD that comes first. Raises EOFError once the node is gone."""
        while self.load is None:
            self._receive(0)
        return self.load

    @property
    def tells_batches(self) -> bool:
        """Whether the node, which may be of another release, takes what batches were like."""
        return bool(self.load and self.load.get("batches"))

    @property
    def has_run(self) -> bool:
        """Whether a group lies here."""
        return bool(self._runs)

    def next_run(self) -> Run:
        """The next group, waited for. Raises EOFError once the node is gone."""
        while not self._runs:
            self._receive(0)
        return self._runs.popleft()

    def poll(self) -> None:
        """Take in what lies in the socket, without waiting."""
        while self._receive(socket.MSG_DONTWAIT):
            pass

    def share_cores(self, use_threads: Callable[[int], None]) -> None:
        """Have the engine use as many CPU threads as the node said last, where it does not."""
        if self._used != self._threads:
            self._used = self._threads
            use_threads(self._used)

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
            self._threads = run.threads
            self._runs.append(run)
        elif kind is Kind.CANCEL:
            group, index = protocol.decode_cancel(body)
            # A group that is done by now needs no cancel.
            self._cancelled.get(group, set()).add(index)
        elif kind is Kind.THREADS:
            self._threads = protocol.decode_threads(body)
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
        settings: Mapping[str, Parameter] | None,
    ) -> None:
        """Add one request's outcome. Raises TypeError for odd settings."""
        ok = error is None
        payload = (outputs or b"") if error is None else protocol.encode_error(error)
        self._items.append(protocol.encode_item(index, ok, ms, payload, settings))
        self._bytes += len(payload)
        if self._bytes >= protocol.FRAME_TARGET:
            self.flush()

    def tell(self, chunk: Chunk) -> None:
        """Send what a request tells, at once."""
        self._sock.sendall(protocol.encode_chunk(self._group, chunk))

    def learned(self, news: Mapping[str, int | None]) -> None:
        """Send what was learned of batches, at once."""
        self._sock.sendall(protocol.encode_json(Kind.LEARNED, news))

    def flush(self, last: bytes = b"") -> None:
        """Send what has gathered, and `last` behind it."""
        if self._items:
            last = protocol.encode_results(self._group, self._items) + last
            self._items, self._bytes = [], 0
        if last:
            self._sock.sendall(last)


class GroupDesk:
    """The `Control` of a group: its orders from the inbox, its answers to an outbox."""

    def __init__(
        self, inbox: Inbox, outbox: Outbox, group: int, use_threads: Callable[[int], None]
    ) -> None:
        self._use_threads = use_threads
        self.batch_done = outbox.flush
        self.tell, self.learned = outbox.tell, outbox.learned
        self._inbox, self._group = inbox, group

    def poll(self) -> None:
        """Take in what the node has sent meanwhile, its word on threads too."""
        self._inbox.poll()
        self._inbox.share_cores(self._use_threads)

    def is_cancelled(self, index: int) -> bool:
        """Whether the node has taken this request back."""
        return self._inbox.is_cancelled(self._group, index)


class StepDesk:
    """The `Desk` of a stepped engine; what is said in one turn leaves in one write."""

    def __init__(self, sock: socket.socket, inbox: Inbox) -> None:
        self._sock = sock
        self._inbox = inbox
        self._frames: list[bytes] = []

    def started(self, group: int) -> None:
        """The first request of a group has joined."""
        self._frames.append(protocol.encode_started(group))

    def tell(self, group: int, chunk: Chunk) -> None:
        """A request tells something."""
        self._frames.append(protocol.encode_chunk(group, chunk))

    def answer(
        self,
        group: int,
        index: int,
        outputs: bytes | None,
        error: RequestError | None,
        ms: float,
        settings: Mapping[str, Parameter] | None = None,
    ) -> None:
        """A request has ended. Raises TypeError for odd settings."""
        payload = (outputs or b"") if error is None else protocol.encode_error(error)
        item = protocol.encode_item(index, error is None, ms, payload, settings)
        self._frames.append(protocol.encode_results(group, [item]))

    def done(self, group: int, ms: float, batches: Batches) -> None:
        """All requests of a group have ended."""
        self._inbox.done(group)
        if batches and self._inbox.tells_batches:
            self._frames.append(encode_batches(group, batches))
        self._frames.append(protocol.encode_done(group, ms))

    def is_cancelled(self, group: int, index: int) -> bool:
        """Whether the node has taken this request back."""
        return self._inbox.is_cancelled(group, index)

    def flush(self) -> None:
        """Send all that was said."""
        if self._frames:
            frames, self._frames = self._frames, []
            self._sock.sendall(b"".join(frames))
