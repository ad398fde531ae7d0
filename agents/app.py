"""The Faust application: group, assignment and agent are Faust's; batches and commits are ours.

Two of Faust's own paths lose messages and are not used: its acks commit past unfinished offsets,
and `pause_partitions` drops records already fetched. Instead the consumer below hands over one
event per fetched batch and commits only what the ledger says. Private names of Faust 0.15.3 used
here, all held by a test: `Consumer._get_active_partitions`, `._getmany`, `._to_message`,
`._read_offset`, `._thread`, `ConsumerThread._consumer`, and aiokafka's
`_coordinator.fetch_committed_offsets`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, cast

import faust
import structlog
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from modelmora.agents.intake import Batch, Intake
from modelmora.kafka.connection import bootstrap_servers, ssl_context
from modelmora.kafka.topics import lane_topics
from modelmora.kafka.unreadable import PARSE_FAULTS, step_over
from modelmora.settings import Settings

log = structlog.get_logger(__name__)
WEEK_S = 7 * 86_400
FETCH_WAIT_MS = 100
_GATED_POLL_S = 0.02


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread with a shorter long poll.

    aiokafka leaves a partition whose records wait to be taken out of its next fetch, and then out
    of reach until that fetch ends: with Faust's fixed 1,500 ms a busy partition stands still for
    a second and more, over and over.
    """

    def _create_consumer(self, loop: asyncio.AbstractEventLoop) -> Any:
        consumer = super()._create_consumer(loop)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        consumer._isolation_level = "read_committed"  # what was aborted was never asked
        return consumer


class Consumer(driver.Consumer):
    """Faust's consumer with one event per partition batch, and commits from the ledger."""

    app: NodeApp
    logger = logging.getLogger("faust.consumer")  # else its start and stop would be ours
    _stands_for: int | None = None
    _handed: dict[TP, int]  # the offsets behind what was handed over

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(  # Faust names the argument
        self,
        timeout: float,  # noqa: ASYNC109
    ) -> AsyncIterator[tuple[TP, Any]]:
        """Fetch; yield each partition's records as the value of one message.

        A record that was fetched is never dropped without a seek back: its position has moved on.
        So `_stands_for` names the assignment whose records were all handed over up to where the
        consumer stands, and otherwise reading goes back to where the ledger has come.
        """
        intake = self.app.intake
        if not self.flow_active:
            await self.wait(self.can_resume_flow)
        active = self._get_active_partitions() - intake.gated
        if not (active and intake.reading):
            await asyncio.sleep(_GATED_POLL_S)
            return
        epoch = intake.epoch
        if self._stands_for != epoch and not await self._go_back():
            return
        self._stands_for = None
        if intake.gated:
            timeout = _GATED_POLL_S  # a gate that opens must not wait for a fetch of the others
        try:
            batches = await self._getmany(active, timeout)
        except PARSE_FAULTS:
            batches = await self._step_over(active)
        for partition, records in (batches or {}).items():
            if self.should_stop or not self._is_of(epoch):
                return
            tp = TP(partition.topic, partition.partition)
            if records:
                last = records[-1].offset
                message = self._to_message(tp, _Last(tp, last))
                message.value = Batch(self._handed.get(tp, 0), records)
                self._handed[tp] = last + 1
                yield tp, message
        if self._is_of(epoch):
            self._stands_for = epoch

    def _is_of(self, epoch: int) -> bool:
        intake = self.app.intake
        return self.flow_active and intake.reading and intake.epoch == epoch

    async def _go_back(self) -> bool:
        """Read on where the ledger has come; False where that cannot be done now."""
        positions = {
            tp: offset
            for tp in self.assignment()
            if (offset := self.app.intake.next_offset(tp)) is not None
        }
        try:
            await self._thread.call_thread(_seek, self._thread._consumer, positions)
        except KafkaError as error:
            log.debug("not assigned any more", error=repr(error))
            await asyncio.sleep(_GATED_POLL_S)
            return False
        # Faust drops what lies before the last offset that it has seen.
        self._read_offset.update(positions)
        self._handed = positions
        return True

    async def _step_over(self, active: set[TP]) -> Mapping[Any, Any]:
        """Pass what cannot be parsed; a gated partition stays as it is."""
        positions = {TopicPartition(*tp): self.app.intake.next_offset(tp) for tp in active}
        found = await self._thread.call_thread(step_over, self._thread._consumer, positions)
        return cast("Mapping[Any, Any]", found)

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Commit what the ledger says; a failed commit is tried again at the next tick."""
        del topics, start_new_transaction
        intake = self.app.intake
        commits = intake.to_commit(self.assignment()) if intake.partitions() else {}
        if not commits:
            return False
        offsets = {TopicPartition(*tp): OffsetAndMetadata(*each) for tp, each in commits.items()}
        try:
            await self._thread.call_thread(self._thread._consumer.commit, offsets)
        except KafkaError as error:
            log.warning("commit failed, will be tried again", error=repr(error))
            return False
        self.app.intake.on_committed(commits)
        return True

    async def commit_now(self) -> None:
        """Commit what the ledger says by now; `commit` would only join one that is under way."""
        await self.maybe_wait_for_commit_to_finish()
        await self.commit()

    async def verify_all_partitions_active(self) -> None:
        """Faust's livelock detector looks at acks, and there are none here (see the watchdog)."""

    async def committed(self, partitions: set[TP]) -> dict[TP, tuple[int, str]]:
        """Offset and metadata that the group has committed; the first offset where it has not."""
        consumer = self._thread._consumer
        wanted = [TopicPartition(*tp) for tp in partitions]
        found = await self._thread.call_thread(
            consumer._coordinator.fetch_committed_offsets, wanted
        )
        # A partition without a commit is left out of the answer, or has offset -1.
        new = [tp for tp in wanted if tp not in found or found[tp].offset < 0]
        first = await self._thread.call_thread(consumer.beginning_offsets, new) if new else {}
        return {
            TP(*tp): (first[tp], "") if tp in first else (found[tp].offset, found[tp].metadata)
            for tp in wanted
        }

    async def standing(self) -> tuple[dict[TP, tuple[int, int]], dict[TP, int]]:
        """First and end offset of each partition on the broker, and our own position."""
        return cast(
            "tuple[dict[TP, tuple[int, int]], dict[TP, int]]",
            await self._thread.call_thread(
                _standing, self._thread._consumer, [TopicPartition(*tp) for tp in self.assignment()]
            ),
        )


async def _seek(consumer: Any, positions: Mapping[TP, int]) -> None:
    for tp, offset in positions.items():
        consumer.seek(TopicPartition(*tp), offset)


async def _standing(consumer: Any, partitions: list[TopicPartition]) -> Any:
    first = await consumer.beginning_offsets(partitions)
    end = await consumer.end_offsets(partitions)
    positions = {TP(*tp): await consumer.position(tp) for tp in partitions}
    return {TP(*tp): (first[tp], end[tp]) for tp in partitions}, positions


class _Last:
    """Just enough of a record to make Faust's message of a batch."""

    timestamp = None
    timestamp_type = None
    headers = ()
    key = None
    value = None
    checksum = None
    serialized_key_size = 0
    serialized_value_size = 0

    def __init__(self, tp: TP, offset: int) -> None:
        self.topic, self.partition, self.offset = tp.topic, tp.partition, offset


class Transport(driver.Transport):
    """Faust's transport with the consumer above."""

    Consumer = Consumer


class NodeApp(faust.App):
    """The Faust application of one node; partitions are (topic, number) everywhere."""

    logger = logging.getLogger("faust.app")

    intake: Intake


def _credentials(settings: Settings) -> Any:
    kafka = settings.kafka
    context = ssl_context(kafka)
    if kafka.security_protocol.startswith("SASL_"):
        return faust.SASLCredentials(
            username=kafka.sasl_username,
            password=kafka.password(),
            mechanism=kafka.sasl_mechanism,
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if context else None


def build_app(
    settings: Settings,
    intake: Intake,
    on_batch: Callable[[Batch], Awaitable[None]],
    on_assigned: Callable[[set[TP]], Awaitable[None]],
    on_revoked: Callable[[set[TP]], Awaitable[None]],
) -> NodeApp:
    """The application, its agent on all lanes, and the rebalance hooks.

    `on_assigned` gets the whole assignment, also what was kept; Faust may resume reading before
    it returns, so the intake is closed until it has taken the assignment over. The rebalance
    waits for `on_revoked`.
    """
    timing = settings.timing
    servers = bootstrap_servers(settings).split(",")
    app = NodeApp(
        settings.group,
        broker=[f"kafka://{server.strip()}" for server in servers],
        broker_credentials=_credentials(settings),
        broker_client_id=settings.namespace,
        datadir=Path(settings.data_dir) / "faust",
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        stream_wait_empty=False,  # our own bounded drain instead
        stream_processing_timeout=WEEK_S,
        stream_buffer_maxsize=8,  # batches that may lie between fetch and agent
        broker_commit_livelock_soft_timeout=WEEK_S,
        broker_commit_interval=timing.commit_interval_s,
        broker_max_poll_interval=WEEK_S,  # a member whose partitions are all gated must stay one
        broker_max_poll_records=10_000,  # a whole fetch at once
        broker_session_timeout=timing.session_timeout_s,
        broker_heartbeat_interval=timing.session_timeout_s * 0.3,
        broker_rebalance_timeout=max(60.0, 3 * timing.drain_s),
        broker_request_timeout=90.0,
        consumer_group_instance_id=None if settings.dynamic_member else settings.member_id,
        consumer_auto_offset_reset="earliest",
    )
    app.boot_strategy.enable_sensors = False
    app.intake = intake
    app.transport = Transport(app.conf.broker_consumer, app)
    lanes = app.topic(
        *lane_topics(settings),
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

    @app.on_partitions_assigned.connect
    async def assigned(_app: Any, partitions: set[TP], **_: Any) -> None:
        await on_assigned(partitions)

    @app.on_partitions_revoked.connect
    async def revoked(_app: Any, partitions: set[TP], **_: Any) -> None:
        await on_revoked(partitions)

    return app
