"""What is measured, told on `metrics`: the values of `/metrics`, whenever they have changed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import structlog
from prometheus_client import CollectorRegistry

from modelmora.kafka.topics import Topic
from modelmora.kafka.writing.outbox import Answer, Record
from modelmora.messages import MetricSample
from modelmora.settings import Settings
from modelmora.wire import encode_sample

log = structlog.get_logger(__name__)
MOST_WAITING = 5_000
"""Samples that may wait to be written; of more the oldest are dropped."""


class Samples:
    """Tells what one process measures; who reads all that is kept has every series."""

    def __init__(
        self,
        settings: Settings,
        registry: CollectorRegistry,
        node: str,
        send: Callable[[Record], None],
    ) -> None:
        self._registry = registry
        self._node = node
        self._send = send
        self._topic = Topic.METRICS.full(settings.namespace)
        self._period_s = settings.timing.metrics_s
        self._told: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}

    async def run(self) -> None:
        """Tell it every `timing.metrics_s`, for ever; where that is 0, nothing."""
        while self._period_s:
            try:
                self.tell(time.time_ns() // 1_000_000)
            except Exception:
                log.exception("what is measured was not told")
            await asyncio.sleep(self._period_s)
        await asyncio.Event().wait()

    def tell(self, now_ms: int) -> None:
        """Tell what is another value than was told before."""
        for sample in self._changed(now_ms):
            value = encode_sample(sample)
            # A topic that is missing or full is nothing to be unwell of.
            record = Record(self._topic, self._node.encode(), value, _nothing, optional=True)
            self._send(record)

    def _changed(self, now_ms: int) -> Iterator[MetricSample]:
        for metric in self._registry.collect():
            for sample in metric.samples:
                series = sample.name, tuple(sample.labels.items())
                created = sample.name.endswith("_created")
                if not created and self._told.get(series) != sample.value:
                    self._told[series] = sample.value
                    labels = dict(sample.labels)
                    yield MetricSample(self._node, now_ms, sample.name, sample.value, labels)


def _nothing(_: Answer) -> None:
    """What becomes of a sample changes nothing."""
