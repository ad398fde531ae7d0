"""Reads outcomes as they come, to say when the first of what came after a fault was there."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer, TopicPartition

from tests.checker.reading import arrived
from tests.faults.chaos.scene import CLIENT


@dataclass(slots=True)
class Seen:
    """One strike, in seconds: since when it was on, how long, and how long after it.

    `first_s` is the first outcome of a request written after it, `all_s` the last of one request
    for each partition, or a caller's answer; None where none was seen. `beside` says that another
    strike began before.
    """

    name: str
    at_s: float
    lasted_s: float = 0.0
    first_s: float | None = None
    all_s: float | None = None
    beside: bool = False
    waits: set[str] = field(default_factory=set)
    over: float = 0.0

    def came(self, one: str, at: float) -> None:
        """An outcome, or an answer."""
        self.waits.discard(one)
        if self.first_s is None:
            self.first_s = at - self.over
        if not self.waits:
            self.all_s = at - self.over


class Watch:
    """A context manager that reads `results` from where it ends, in a thread."""

    def __init__(self, servers: str, topic: str) -> None:
        self._waits: dict[bytes, Seen] = {}
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        settings: Mapping[str, str | int | bool] = {
            "bootstrap.servers": servers,
            "group.id": "watch",
            "enable.auto.commit": False,
            "auto.offset.reset": "latest",
            "log_level": 0,
        }
        self._consumer = Consumer(
            {**settings, "reconnect.backoff.max.ms": CLIENT["reconnect.backoff.max.ms"]}
        )
        known = self._consumer.list_topics(topic, timeout=30).topics[topic].partitions
        self._consumer.assign([TopicPartition(topic, number, 0) for number in known])
        self.silent_s = 0.0
        """The longest time without any outcome."""

    def await_first(self, seen: Seen) -> None:
        """Wait for these ids; before they are written."""
        self._waits |= {each.encode(): seen for each in seen.waits}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._ends.set()
        self._thread.join()
        self._consumer.close()

    def _run(self) -> None:
        last = time.monotonic()
        while not self._ends.is_set():
            for message in arrived(self._consumer, 0.05):
                if message.error() is not None:
                    continue
                now = time.monotonic()
                self.silent_s, last = max(self.silent_s, now - last), now
                if seen := self._waits.pop(message.key() or b"", None):
                    seen.came(message.key().decode(), now)
