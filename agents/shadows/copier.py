"""Reads the lanes once more, in a group of its own, while some route asks for copies."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence

import structlog
from confluent_kafka import OFFSET_END, Consumer, KafkaException, Message, TopicPartition

from modelmora.agents.shadows.copying import Copying
from modelmora.kafka.acls import Operation, shadow_group
from modelmora.kafka.batches import Record, record_of
from modelmora.kafka.connection import group_config
from modelmora.kafka.denied import on_group, reason
from modelmora.kafka.topics import lane_topics
from modelmora.kafka.writing.publisher import Record as Outgoing
from modelmora.routing import Steps, shadowed
from modelmora.settings import Settings

log = structlog.get_logger(__name__)
POLL_S = 0.2
MOST = 500
"""Records of one fetch, and copies that may wait to be written."""
MOST_BEHIND_MS = 30_000
"""What is older is not copied any more: reading goes to the end."""
GATHER_MS = 500
"""For so long the broker gathers records before it answers a fetch."""
_BREATH = 25
_PAUSE_S = 1.0
_LOOK_S = 0.005

Routes = Mapping[str, Steps]


class Copier:
    """Copies what routes say, as fast as it can be written and no faster.

    Whoever reads the lanes for their outcomes is not held up: this is another reader, and where it
    falls behind it leaves out what has come meanwhile.
    """

    def __init__(
        self,
        settings: Settings,
        copying: Copying,
        send: Callable[[Outgoing], None],
        routes: Callable[[], Routes],
        now_ms: Callable[[], float],
        backlog: Callable[[], int],
        count: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`now_ms` is the broker's time, `backlog` how many records wait to be written.

        `count` is told of each copy, and each time that reading goes to the end.
        """
        self._settings = settings
        self._copying = copying
        self._send = send
        self._routes = routes
        self._now_ms = now_ms
        self._backlog = backlog
        self._count = count
        self._stopping: threading.Event | None = None
        self._thread: threading.Thread | None = None
        self._loop = asyncio.get_running_loop()
        self._names: frozenset[bytes] = frozenset()
        self._said: set[str] = set()

    def look(self) -> None:
        """Read while there is a route with copies; to be called now and then."""
        names = shadowed(self._routes(), self._now_ms() - MOST_BEHIND_MS)
        self._names, wanted = frozenset(each.encode() for each in names), bool(names)
        if self._thread and not self._thread.is_alive():
            self._thread = None
        if wanted and self._thread is None:
            self._stopping = threading.Event()
            self._thread = threading.Thread(
                target=self._run, args=(self._stopping,), name="copier", daemon=True
            )
            self._thread.start()
        elif not wanted and self._stopping:
            self._stopping.set()

    async def stop(self) -> None:
        """Read no more, and leave the group."""
        if self._stopping and self._thread:
            self._stopping.set()
            await asyncio.to_thread(self._thread.join, 10)

    # The thread ----------------------------------------------------------------------------------

    def _run(self, stopping: threading.Event) -> None:
        try:
            consumer = self._join()
        except KafkaException as error:
            log.warning("requests are not copied", error=str(error))
            stopping.wait(_PAUSE_S)
            return
        log.info("requests are copied", group=shadow_group(self._settings))
        try:
            while not stopping.is_set():
                self._turn(consumer, stopping)
        except (KafkaException, RuntimeError) as error:  # it is begun anew, unless the loop is gone
            log.warning("requests are not copied", error=str(error))
            stopping.wait(_PAUSE_S)
        finally:
            consumer.close()

    def _join(self) -> Consumer:
        config = group_config(self._settings, "classic") | {
            "group.id": shadow_group(self._settings),
            "auto.offset.reset": "latest",
            "enable.auto.commit": True,
            "queued.max.messages.kbytes": 8_192,
            # Nobody waits for a copy, so the broker need not answer for each record.
            "fetch.min.bytes": 1 << 20,
            "fetch.wait.max.ms": GATHER_MS,
        }
        consumer = Consumer(config, logger=logging.getLogger("librdkafka"))
        consumer.subscribe([*lane_topics(self._settings)])
        return consumer

    def _turn(self, consumer: Consumer, stopping: threading.Event) -> None:
        messages = self._heard(consumer.consume(MOST, POLL_S))
        if messages and self._is_behind(messages):
            self._skip(consumer)
            return
        names = self._names
        asked = (each for each in messages if not each.key() or each.key() in names)
        if records := [found for each in asked if (found := self._record(each))]:
            copied = asyncio.run_coroutine_threadsafe(self._copy(records), self._loop)
            while not (stopping.is_set() or (copied.done() and self._backlog() <= MOST)):
                stopping.wait(_LOOK_S)

    def _heard(self, messages: Sequence[Message]) -> list[Message]:
        """Those that are records; what is wrong is said once."""
        for message in messages:
            if error := message.error():
                needed = on_group(Operation.READ, shadow_group(self._settings))
                why = reason(error, needed)
                if why not in self._said:
                    self._said.add(why)
                    log.warning("requests are not copied", reason=why)
        return [each for each in messages if each.error() is None]

    def _is_behind(self, messages: Sequence[Message]) -> bool:
        oldest: int = min(each.timestamp()[1] for each in messages)
        return self._now_ms() - oldest > MOST_BEHIND_MS

    def _skip(self, consumer: Consumer) -> None:
        """Go on with what comes from now on."""
        for place in consumer.assignment():
            consumer.seek(TopicPartition(place.topic, place.partition, OFFSET_END))
        self._loop.call_soon_threadsafe(self._count, "skipped")
        log.warning("copies fell behind; what came meanwhile is not copied")

    @staticmethod
    def _record(message: Message) -> Record | None:
        found = record_of(message, message.topic(), message.partition(), 0)
        return found if isinstance(found, Record) else None

    # On the loop ---------------------------------------------------------------------------------

    async def _copy(self, records: Sequence[Record]) -> None:
        for number, record in enumerate(records):
            try:
                for copy in self._copying.of(record, self._routes()):
                    self._send(copy)
                    self._count("copied")
            except Exception:  # of whatever is wrong with us and one record the others know nothing
                place = {"topic": record.topic, "offset": record.offset}
                log.exception("a request was not copied", **place)
            if number % _BREATH == 0:
                await asyncio.sleep(0)
