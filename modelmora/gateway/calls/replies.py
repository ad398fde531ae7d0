"""The share of `results` and `progress` that this gateway reads, and how it grows."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable

from aiokafka import ConsumerRecord

from modelmora.gateway.outcomes import Refusal
from modelmora.kafka.pulse import Pulse
from modelmora.kafka.reading.lookback import MARGIN_MS, LookBack
from modelmora.kafka.reading.tail import Handler, Tail
from modelmora.kafka.schema_registry import Schemas
from modelmora.kafka.topics import Topic
from modelmora.settings import Settings
from modelmora.web.problems import DoorCode
from modelmora.wire import new_request_id, partition_of, time_of

SEEN = 50_000
READ_S = 5.0
SETTLE_S = 10.0  # within this, every node has noticed partitions that were added


class Seen:
    """Which ids were heard of on the tailed partitions, as far as they are remembered."""

    def __init__(self, capacity: int = SEEN, now_ms: Callable[[], int] | None = None) -> None:
        self._capacity = capacity
        self._now_ms = now_ms or (lambda: time.time_ns() // 1_000_000)
        self._ids: dict[bytes, int] = {}
        self._since: dict[int, int] = {}

    def begin(self, partitions: Iterable[int]) -> None:
        """From now on every outcome of these partitions is noted."""
        self._since |= dict.fromkeys(partitions, self._now_ms())

    def note(self, record: ConsumerRecord) -> None:
        """One outcome, or that one is on its way; the oldest is forgotten with too many."""
        self._ids[record.key] = record.timestamp
        if len(self._ids) > self._capacity:
            timestamp = self._ids.pop(next(iter(self._ids)))
            for partition, since in self._since.items():
                self._since[partition] = max(since, timestamp + 1)

    def surely_none(self, request_id: str, partition: int) -> bool:
        """Whether this id cannot have been asked before: all that could tell of it was noted."""
        made, since = time_of(request_id), self._since.get(partition)
        if made is None or since is None or request_id.encode() in self._ids:
            return False
        return made - MARGIN_MS >= since


class Replies:
    """Tails the partitions that minted ids hash to, and those of callers' own ids from then on.

    Partitions that are added later change nothing here: ids are minted, by the new count as soon
    as all nodes know it, to hash to those that are tailed.
    """

    def __init__(
        self,
        settings: Settings,
        pulse: Pulse,
        on_result: Handler,
        on_progress: Handler,
        on_job: Handler,
        schemas: Schemas | None = None,
    ) -> None:
        self._settings = settings
        self._schemas = schemas
        self._pulse = pulse
        self._on_result = on_result
        self._on_progress = on_progress
        self._namespace = settings.namespace
        self._results_topic = Topic.RESULTS.full(settings.namespace)
        self._progress_topic = Topic.PROGRESS.full(settings.namespace)
        handlers = {Topic.RESULTS: on_result, Topic.PROGRESS: on_progress, Topic.JOBS: on_job}
        self._backs = {
            topic: LookBack(settings, topic.full(settings.namespace), handle, schemas)
            for topic, handle in handlers.items()
        }
        self._mine: frozenset[int] = frozenset()
        self._partitions = 0
        self._wider_since: float | None = None
        self._seen = Seen()
        self._tails: list[Tail] = []
        self._joined: dict[int, asyncio.Future[None]] = {}
        self._looking = asyncio.Lock()
        self._looked_at, self._all_read = 0.0, False

    async def start(self) -> None:
        """Choose partitions of `results`; tail them and their like of `progress`.

        Raises KafkaError, Refusal.
        """
        partitions = self._count()
        count = min(self._settings.reply_partitions, partitions)
        mine = self._mine = frozenset(random.sample(range(partitions), count))
        await self._tail({self._results_topic: mine}, self._take)
        await self._tail({self._progress_topic: self._progress_of(mine)}, self._hear)
        self._seen.begin(mine)
        loop = asyncio.get_running_loop()
        for partition in mine:
            self._joined[partition] = loop.create_future()
            self._joined[partition].set_result(None)

    def fault(self) -> str | None:
        """Why outcomes do not arrive here, None while they do."""
        if self._results_topic not in self._pulse.shapes:
            return f"there is no topic {self._results_topic}"
        return next((fault for tail in self._tails if (fault := tail.fault)), None)

    async def mint(self) -> tuple[str, int]:
        """A new id and its partition, which is tailed here. Raises KafkaError, Refusal."""
        partitions = self._count()
        if max(self._mine) >= partitions:  # made anew with fewer
            self._mine = frozenset(partition % partitions for partition in self._mine)
        for partition in self._mine:
            await self._join(partition)
        request_id = new_request_id(partitions, self._mine)
        return request_id, partition_of(request_id.encode(), partitions)

    async def find(self, request_id: str) -> int:
        """See to it that what is told of this id reaches the handlers, now and from now on.

        So its outcome does, whether it exists or will. Returns its partition. Raises KafkaError,
        LookBackFailed, Refusal.
        """
        partition = await self.join_of(request_id)
        if not self._seen.surely_none(request_id, partition):
            await self._look(request_id, partition, Topic.RESULTS, Topic.PROGRESS)
        return partition

    async def find_job(self, request_id: str) -> int:
        """The same for a job: what was noted of it reaches `on_job`. An ended one is noted so."""
        partition = await self.join_of(request_id)
        await self._look(request_id, partition, Topic.JOBS, Topic.PROGRESS)
        return partition

    async def join_of(self, request_id: str) -> int:
        """See to it that what will be told of this id reaches the handlers; its partition."""
        # Tailed before a look-back ends, so that nothing falls between the two.
        partition = partition_of(request_id.encode(), self._count())
        await self._join(partition)
        return partition

    async def _look(self, request_id: str, mine: int, *topics: Topic) -> None:
        searches = []
        for topic in topics:
            shape = self._pulse.shapes.get(topic.full(self._namespace))
            if shape is None:
                continue
            # Nodes write to the partition that a request names, but to `jobs` by its own count.
            named = topic is not Topic.JOBS and mine < shape.partitions
            own = mine if named else partition_of(request_id.encode(), shape.partitions)
            searches.append(self._backs[topic].search(request_id, own, shape.partitions))
        await asyncio.gather(*searches)

    async def read_all(self) -> bool:
        """Wait, not long, until the outcomes that lie there by now were read; False: they may not.

        One look serves all who came before it.
        """
        came = time.monotonic()
        async with self._looking:
            if self._looked_at < came:
                self._looked_at, self._all_read = time.monotonic(), await self._look_for_all()
            return self._all_read

    async def _look_for_all(self) -> bool:
        topic = self._results_topic
        try:
            async with asyncio.timeout(READ_S):
                await asyncio.gather(*(tail.read_all(topic) for tail in self._tails))
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        """Read no more."""
        for joining in self._joined.values():
            joining.cancel()
        await asyncio.gather(*self._joined.values(), return_exceptions=True)
        backs = (back.stop() for back in self._backs.values())
        await asyncio.gather(*backs, *(tail.stop() for tail in self._tails))

    def _count(self) -> int:
        """The partitions of `results`; more than there were count when all nodes know of them."""
        shape = self._pulse.shapes.get(self._results_topic)
        if shape is None:
            raise Refusal(DoorCode.BROKER_UNREACHABLE, self.fault() or "try again a little later")
        now = asyncio.get_running_loop().time()
        if shape.partitions > self._partitions > 0:
            self._wider_since = self._wider_since or now
            if now - self._wider_since < SETTLE_S:
                return self._partitions
        self._wider_since = None
        if shape.partitions != self._partitions:
            # Outcomes of before may lie on other partitions than those that were watched for them.
            self._partitions = shape.partitions
            self._seen.begin(self._joined)
        return self._partitions

    def _progress_of(self, mine: Iterable[int]) -> Iterable[int]:
        """Where nodes write how these get on: the same partitions; where there are too few, any."""
        shape = self._pulse.shapes.get(self._progress_topic)
        partitions = shape.partitions if shape else 0
        return mine if all(partition < partitions for partition in mine) else range(partitions)

    async def _join(self, partition: int) -> None:
        """Tail one partition more, once; many may wait for it and any of them may leave."""
        joining = self._joined.get(partition)
        if joining is None or (joining.done() and (joining.cancelled() or joining.exception())):
            joining = asyncio.create_task(self._tail_both(partition), name="tail-more")
            self._joined[partition] = joining
        if not joining.done():
            await asyncio.shield(joining)

    async def _tail_both(self, partition: int) -> None:
        # Tails of their own: a partition added to a reading consumer waits for its fetch to end.
        partitions = {
            self._results_topic: [partition],
            self._progress_topic: self._progress_of([partition]),
        }
        await self._tail(partitions, self._either)
        self._seen.begin([partition])

    async def _tail(self, partitions: dict[str, Iterable[int]], handle: Handler) -> None:
        tail = Tail(self._settings, self._pulse, handle, self._schemas)
        await tail.start(partitions, "end")
        self._tails.append(tail)

    def _take(self, record: ConsumerRecord) -> None:
        self._seen.note(record)
        self._on_result(record)

    def _hear(self, record: ConsumerRecord) -> None:
        self._seen.note(record)
        self._on_progress(record)

    def _either(self, record: ConsumerRecord) -> None:
        if record.topic == self._results_topic:
            self._take(record)
        else:
            self._hear(record)
