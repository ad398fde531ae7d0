"""Samples committed offsets and the ends of the outcome topics while faults run."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException

from tests.checker.evidence import Sample
from tests.checker.reading import Cluster

INTERVAL_S = 0.2


class Sampler:
    """A context manager whose `samples` grow while it is open; a dead broker is only counted."""

    def __init__(
        self, servers: str, group: str, namespace: str, *, interval_s: float = INTERVAL_S
    ) -> None:
        self._cluster = Cluster(servers, group)
        self._namespace = namespace
        self._interval_s = interval_s
        self._samples: list[Sample] = []
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self.missed = 0

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Every sample taken so far, oldest first; equal neighbours are kept once."""
        return tuple(self._samples)

    def wait_for(self, count: int, timeout_s: float) -> bool:
        """Wait until that many samples were taken; False when they were not in time."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._samples) >= count, timeout_s)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._thread.join()
        self._cluster.close()

    def _run(self) -> None:
        before = 0.0
        while not self._stopped.is_set():
            began = time.time()
            try:
                sample = self._cluster.sample(self._namespace, before)
            except (KafkaException, TimeoutError):
                self.missed += 1
            else:
                before = began
                if not self._samples or sample != self._samples[-1]:
                    with self._changed:
                        self._samples.append(sample)
                        self._changed.notify_all()
            self._stopped.wait(self._interval_s)
