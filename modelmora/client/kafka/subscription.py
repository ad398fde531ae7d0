"""What is told on a topic, as typed messages, for plain and for asyncio programs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, Self, TypedDict, TypeVar, Unpack

from modelmora.errors import Undecodable
from modelmora.kafka.reading.reader import Reader, Record, Start
from modelmora.kafka.topics import Topic
from modelmora.messages import InferenceResult, LifecycleEvent, MetricSample, ProgressEvent
from modelmora.messages.headers import PROBE
from modelmora.settings import Settings
from modelmora.telemetry.logs import stay_quiet
from modelmora.wire import decode_event, decode_progress, decode_result, decode_sample

Message = TypeVar("Message")


class Where(TypedDict, total=False):
    """What a subscription reads.

    From `start` on: `latest`, which is now, `earliest`, which is all that is kept, or a time in
    Unix ms. A `group` goes on where it had come to, and shares the partitions among its members.
    With `follow` false it ends with what lies there now.
    """

    start: Start
    group: str | None
    follow: bool


class Subscription(Generic[Message]):
    """Messages as they come, by `for` or `async for`; close it, or use it with `with`.

    What is no such message is passed over. One reader at a time; little is read ahead, so who
    is slow holds up nobody and needs no memory. Partitions that are added are read too.
    """

    def __init__(
        self,
        settings: Settings,
        topic: Topic,
        decode: Callable[[bytes | None], Message],
        **where: Unpack[Where],
    ) -> None:
        """Blocking: what comes from now on is read. Raises Unreachable, NotFound."""
        stay_quiet()
        self._decode = decode
        self._thread = ThreadPoolExecutor(1, "subscription")
        self._pending: Future[Message | _End | None] | None = None
        self._reader = Reader(settings, group=where.get("group"))
        try:
            self._records = self._open(topic.full(settings.namespace), where)
        except BaseException:
            self.close()
            raise

    def _open(self, topic: str, where: Where) -> Iterator[Record | None]:
        reader, start = self._reader, where.get("start", "latest")
        if where.get("group"):
            return reader.follow_as_group(topic, start)
        starts = reader.starts(reader.places(topic), start)
        return reader.follow(starts) if where.get("follow", True) else reader.read(starts)

    def _step(self) -> Message | _End | None:
        """The next message; None where none came for a moment, or a record that is none.

        Nobody has asked for what a probe is answered but the gateway that sent it.
        """
        try:
            record = next(self._records)
            return self._decode(record.plain) if record and not record.header(PROBE) else None
        except StopIteration:
            return END
        except (Undecodable, ValueError):
            return None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Message:
        while (found := self._step()) is None:
            pass
        if isinstance(found, _End):
            raise StopIteration
        return found

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        found = None
        while found is None:
            # Whoever gives up waiting leaves the step to the next who asks: nothing is lost.
            self._pending = self._pending or self._thread.submit(self._step)
            found = await asyncio.shield(asyncio.wrap_future(self._pending))
            self._pending = None
        if isinstance(found, _End):
            raise StopAsyncIteration
        return found

    def close(self) -> None:
        """Read no more; what a group has done is committed."""
        self._thread.shutdown()
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)


class _End:
    """There is no more."""


END = _End()


def results_of(settings: Settings, **where: Unpack[Where]) -> Subscription[InferenceResult]:
    """Outcomes, of whoever asked."""
    return Subscription(settings, Topic.RESULTS, decode_result, **where)


def progress_of(settings: Settings, **where: Unpack[Where]) -> Subscription[ProgressEvent]:
    """How requests get on."""
    return Subscription(settings, Topic.PROGRESS, decode_progress, **where)


def events_of(settings: Settings, **where: Unpack[Where]) -> Subscription[LifecycleEvent]:
    """What happens to models and nodes."""
    return Subscription(settings, Topic.EVENTS, decode_event, **where)


def samples_of(settings: Settings, **where: Unpack[Where]) -> Subscription[MetricSample]:
    """What nodes and gateways measure."""
    return Subscription(settings, Topic.METRICS, decode_sample, **where)
