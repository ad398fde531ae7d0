"""The Faust application: app, agent and life cycle are Faust's; group, batches and commits ours.

Faust's own group stops every node at each join, and two of its paths lose messages: its acks
commit past unfinished offsets, and `pause_partitions` drops records already fetched. So the
transport below shows Faust one assignment that never changes, a partition 0 of each topic, and
hands its agent one event per fetched batch of the real partitions (see `modelmora.kafka.group`).
No private name of Faust is used; what is relied on is held by tests.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import faust
from faust.transport import base
from faust.transport.consumer import Consumer as FaustConsumer
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from modelmora.kafka.batches import Batch
from modelmora.kafka.connection import bootstrap_servers
from modelmora.kafka.topics import read_topics
from modelmora.settings import Settings

WEEK_S = 7 * 86_400


class Feed:
    """Fetched batches on their way to the agent; `taken` is called for each fetch passed on."""

    def __init__(self) -> None:
        self.reading = asyncio.Event()
        """Set when Faust has come so far that it reads."""
        self.taken: Callable[[], None] = lambda: None
        self.there = asyncio.Event()
        self._fetches: deque[Sequence[Batch]] = deque()

    def put(self, batches: Sequence[Batch]) -> None:
        """What one fetch has brought."""
        self._fetches.append(batches)
        self.there.set()

    def drain(self) -> Iterable[Batch]:
        """The batches there are, oldest first."""
        while self._fetches:
            batches = self._fetches.popleft()
            self.taken()
            yield from batches
        self.there.clear()


class Consumer(FaustConsumer):
    """What Faust asks of a consumer, answered without a group."""

    app: NodeApp
    logger = logging.getLogger("faust.consumer")  # else its start and stop would be ours
    _number = 0
    _assignment: frozenset[TP] = frozenset()

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Faust's only assignment."""
        self._assignment = frozenset(TP(topic, 0) for topic in topics)
        self.add_future(self.on_partitions_assigned(set(self._assignment)))

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """The last thing that Faust does before it reads."""
        self.app.feed.reading.set()
        return {}

    async def getmany(  # Faust names the argument
        self,
        timeout: float,  # noqa: ASYNC109
    ) -> AsyncIterator[tuple[TP, Any]]:
        """Each batch as the value of one message, under a number that rises: Faust drops others."""
        feed = self.app.feed
        if not feed.there.is_set():
            await self.wait(feed.there, timeout=timeout)
        for batch in feed.drain():
            self._number += 1
            tp = TP(batch.partition[0], 0)
            yield tp, _message(tp, self._number, batch, self.app.consumer_generation_id)

    def assignment(self) -> set[TP]:
        """The assignment that never changes."""
        return set(self._assignment)

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Nothing: the ledger says what is committed, and the member of the group does it."""
        del topics, start_new_transaction
        return False

    force_commit = commit

    async def verify_all_partitions_active(self) -> None:
        """Faust's livelock detector looks at acks, and there are none here (see the watchdog)."""

    # Abstract in Faust, and asked only by applications with tables, or not at all ---------------

    async def _unasked(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    def _unasked_at_once(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    _commit = _seek = _getmany = position = seek_wait = _unasked
    earliest_offsets = highwaters = create_topic = _unasked
    highwater = topic_partitions = key_partition = _unasked_at_once
    _new_topicpartition = _to_message = _unasked_at_once


def _message(tp: TP, number: int, batch: Batch, generation: int) -> ConsumerMessage:
    return ConsumerMessage(
        tp.topic,
        tp.partition,
        number,
        0.0,
        0,
        (),
        None,
        batch,
        None,
        tp=tp,
        generation_id=generation,
    )


class Producer(base.Producer):
    """Faust writes nothing here."""

    logger = logging.getLogger("faust.producer")

    async def flush(self) -> None:
        """Nothing waits."""


class Transport(base.Transport):
    """Faust's transport without a connection of its own."""

    Consumer = Consumer
    Producer = Producer
    driver_version = "modelmora"
    default_port = 9092


class NodeApp(faust.App):
    """The Faust application of one node."""

    logger = logging.getLogger("faust.app")

    feed: Feed


def build_app(settings: Settings, on_batch: Callable[[Batch], Awaitable[None]]) -> NodeApp:
    """The application and its agent on all lanes."""
    servers = bootstrap_servers(settings).split(",")
    app = NodeApp(
        settings.group,
        broker=[f"kafka://{server.strip()}" for server in servers],
        datadir=Path(settings.data_dir) / "faust",
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        stream_wait_empty=False,  # our own bounded drain instead
        stream_processing_timeout=WEEK_S,
        stream_buffer_maxsize=8,  # batches that may lie between fetch and agent
        broker_commit_livelock_soft_timeout=WEEK_S,
    )
    app.boot_strategy.enable_sensors = False
    app.feed = Feed()
    app.transport = Transport(app.conf.broker_consumer, app)
    app.producer_transport = app.transport
    lanes = app.topic(
        *read_topics(settings),
        acks=False,
        key_type=bytes,
        key_serializer="raw",
        value_type=bytes,
        value_serializer="raw",
    )

    @app.agent(lanes, name=f"{settings.namespace}.requests")
    async def requests(stream: Any) -> None:
        async for event in stream.noack().events():
            await on_batch(event.message.value)

    return app
