"""Telling the audit of one process: nobody waits for it, and what is lost is told in its place."""

from __future__ import annotations

import asyncio
import getpass
import os
import time
import uuid
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Literal, Protocol, Self

import structlog

from modelmora import __version__
from modelmora.access.principals import USER
from modelmora.audit.anchors import anchor_record
from modelmora.audit.chain import Chain, Link, Told
from modelmora.audit.folding import WINDOW_MS, Folding
from modelmora.audit.signing import Signer, signer_of
from modelmora.kafka.topics import Topic
from modelmora.kafka.writing.publisher import Answer, Headers, Record, Written
from modelmora.messages.headers import SIGNATURE
from modelmora.settings import Settings
from modelmora.text import counted

log = structlog.get_logger(__name__)
START, STOP, GAP = "start", "stop", "gap"
"""The verbs of a process itself: it runs, it ends, and so many records before this are lost."""
MOST_WAITING = 10_000
"""Records that may wait for a broker that takes none; of more it is told how many there were."""
WINDOW = 1_000
"""Records that are with the publisher at once."""
ANCHOR_S = 60.0
"""How long after a record it is told on `events` how far the chain has come."""
AGAIN_S = 86_400.0
"""How often it is told again where nothing came: `events` keeps it for a week."""


class Tell(Protocol):
    """Tells of a decision, at once and without a fault: see `Auditor.tell`."""

    def __call__(
        self,
        verb: str,
        principal: str,
        *,
        allowed: bool = True,
        model: str | None = None,
        reason: str | None = None,
        request_id: str | None = None,
    ) -> None:
        """Tell who did what, or was not let (`allowed` false), and why."""


def untold(
    verb: str,
    principal: str,
    *,
    allowed: bool = True,
    model: str | None = None,
    reason: str | None = None,
    request_id: str | None = None,
) -> None:
    """Tell nobody: a `Tell` for parts that run without an audit."""


def user() -> str:
    """The person, as the system knows them, in whose name this process runs: `user:root`.

    No caller of a gateway can be of that name: `root` of a key is somebody else.
    """
    try:
        return USER + getpass.getuser()
    except (OSError, KeyError):  # in a container there may be no name for it
        return f"{USER}{os.getuid()}"


def link_record(link: Link, writer: str, namespace: str, done: Callable[[Answer], None]) -> Record:
    """A record of the chain as it is written to `audit`."""
    headers: Headers = ((SIGNATURE, link.signature),)
    return Record(Topic.AUDIT.full(namespace), writer.encode(), link.value, done, headers)


class Auditor:
    """Writes what this process tells; all of it on one loop.

    A record gets its number when it goes to the publisher, which gives up none: so the chain has
    no holes of its own making. What finds no room before that is counted, and the count is a
    record (`gap`). How far the chain has come is told on `events`.
    """

    def __init__(
        self, namespace: str, process: str, kind: Literal["gateways", "nodes"], signer: Signer
    ) -> None:
        self._namespace = namespace
        self._process = process
        self._kind = kind
        self._chain = Chain(f"{process}/{uuid.uuid4().hex[:12]}", signer)
        self._folding = Folding()
        self._waiting: deque[Told] = deque()
        self._lost = 0
        self._under_way = 0
        self._send: Callable[[Record], None] | None = None
        self._head: tuple[Link, Written] | None = None
        """The newest record that the broker has."""
        self._unanchored = False
        """`events` is to be told of it soon."""
        self._anchoring: asyncio.TimerHandle | None = None
        self._unfolding: asyncio.TimerHandle | None = None
        self._ending = False
        self.tell(START, user(), reason=f"version {__version__}")

    @classmethod
    def of(cls, settings: Settings, process: str, kind: Literal["gateways", "nodes"]) -> Self:
        """The auditor of a process with these settings. Raises ConfigurationError."""
        return cls(settings.namespace, process, kind, signer_of(settings))

    @property
    def writer(self) -> str:
        """By what its records are known."""
        return self._chain.writer

    @property
    def idle(self) -> bool:
        """Whether the broker has all that was told."""
        return not (self._waiting or self._under_way)

    def use(self, send: Callable[[Record], None]) -> None:
        """Write from now on; until then what is told waits."""
        self._send = send
        self._pump()

    def tell(
        self,
        verb: str,
        principal: str,
        *,
        allowed: bool = True,
        model: str | None = None,
        reason: str | None = None,
        request_id: str | None = None,
    ) -> None:
        """Tell who did what, or was not let (`allowed` false), and why; returns at once.

        Refusals that are alike are counted, and told every ten seconds. Nothing of it may be what
        a request holds.
        """
        now_ms = time.time_ns() // 1_000_000
        self.take(Told(verb, principal, now_ms, allowed, model, request_id, reason))

    def take(self, told: Told) -> None:
        """The same, of another time."""
        for each in self._folding.take(told):
            self._keep(each)
        if self._folding.counts and self._unfolding is None and not self._ending:
            loop = asyncio.get_running_loop()
            self._unfolding = loop.call_later(WINDOW_MS / 1000, self._unfold)

    def stop(self) -> None:
        """Tell that the process ends; nothing is told after it."""
        for each in self._folding.due():
            self._keep(each)
        self._ending = True
        self.tell(STOP, user())
        for timer in (self._unfolding, self._anchoring):
            if timer:
                timer.cancel()

    def _unfold(self) -> None:
        self._unfolding = None
        for each in self._folding.due(time.time_ns() // 1_000_000):
            self._keep(each)
        if self._folding.counts:
            loop = asyncio.get_running_loop()
            self._unfolding = loop.call_later(WINDOW_MS / 1000, self._unfold)

    def _keep(self, told: Told) -> None:
        if len(self._waiting) >= MOST_WAITING:
            self._lost += 1
            return
        if self._lost:
            self._waiting.append(self._gap(told.time))
        self._waiting.append(told)
        self._pump()

    def _gap(self, now_ms: int) -> Told:
        lost, self._lost = self._lost, 0
        log.error("records of the audit are lost", records=lost)
        why = f"{counted(lost, 'record')} before this could not be written"
        return Told(GAP, user(), now_ms, reason=why)

    def _pump(self) -> None:
        while self._send and self._under_way < WINDOW:
            if not self._waiting and self._lost:
                self._waiting.append(self._gap(time.time_ns() // 1_000_000))
            if not self._waiting:
                return
            link = self._chain.add(self._waiting.popleft())
            self._under_way += 1
            done = partial(self._answered, link)
            self._send(link_record(link, self.writer, self._namespace, done))

    def _answered(self, link: Link, answer: Answer) -> None:
        self._under_way -= 1
        if isinstance(answer, Written):
            self._head = link, answer
            self._anchor_in_time(first=link.sequence == 0)
        else:
            log.error("a record of the audit is lost", sequence=link.sequence, answer=repr(answer))
            self._lost += 1
        self._pump()

    def _anchor_in_time(self, *, first: bool) -> None:
        if first or (self._ending and not (self._under_way or self._waiting)):
            self._anchor()
        elif not self._unanchored:
            self._unanchored = True
            self._anchor_after(ANCHOR_S)

    def _anchor(self) -> None:
        self._unanchored = False
        if self._head and self._send:
            link, written = self._head
            head = self._chain.head(link)
            self._send(anchor_record(head, written, self._process, self._namespace, self._kind))
        self._anchor_after(AGAIN_S)

    def _anchor_after(self, seconds: float) -> None:
        if self._anchoring:
            self._anchoring.cancel()
        if not self._ending:
            self._anchoring = asyncio.get_running_loop().call_later(seconds, self._anchor)
