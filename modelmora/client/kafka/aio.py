"""The client over Kafka, for asyncio programs."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Sequence
from functools import partial
from typing import Self, Unpack

from aiokafka.errors import KafkaError

from modelmora.access.secrets import signer_of
from modelmora.client.errors import CallError, closed
from modelmora.client.kafka.asked import Asked, How
from modelmora.client.kafka.asking import AsyncReply, Place, Waiting
from modelmora.client.kafka.placing import Placing
from modelmora.client.kafka.subscription import (
    Subscription,
    Where,
    events_of,
    progress_of,
    results_of,
    samples_of,
)
from modelmora.errors import NotFound, Unreachable
from modelmora.kafka.commands import command_headers
from modelmora.kafka.pulse import Pulse
from modelmora.kafka.reading.reader import Reader
from modelmora.kafka.reading.tail import Tail
from modelmora.kafka.requests import nothing
from modelmora.kafka.schema_registry import Schemas
from modelmora.kafka.topics import Topic, lane_topics
from modelmora.kafka.writing.publisher import Answer, Publisher, Record, Refused, TooLarge
from modelmora.messages import (
    Content,
    ControlCommand,
    ControlVerb,
    InferenceResult,
    LifecycleEvent,
    MetricSample,
    ProgressEvent,
    Status,
)
from modelmora.messages.headers import LOCAL
from modelmora.settings import Settings
from modelmora.telemetry.logs import stay_quiet
from modelmora.wire import (
    decode_result,
    encode_control,
    new_request_id,
    partition_of,
)

MOST_AWAITED = 10_000
TIMEOUT_S = 60.0
UNSENT_BYTES = 32 << 20
"""Of requests that the broker has not acknowledged; who asks for more waits."""
LOOK_S = 0.01
WRITE_S = 30.0
CLOSE_S = 5.0


class AsyncKafkaClient:
    """Asks models by records and reads their outcomes, with no gateway between.

    Use it with `async with`. Outcomes are read on one partition of `results`, chosen at random and
    read before the first request is written. Ids that are made here hash to it, so whoever looks
    for one elsewhere finds it; of a given id the partition is that of its own hash. At most
    `most_awaited` replies are awaited at a time. Methods raise CallError, Unreachable, Invalid.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        namespace: str = "modelmora",
        *,
        settings: Settings | None = None,
        most_awaited: int = MOST_AWAITED,
    ) -> None:
        """`settings` has what else there is to say: how to connect, a schema registry, limits."""
        stay_quiet()
        self.settings = settings = (settings or Settings()).model_copy(
            update={"bootstrap_servers": bootstrap_servers, "namespace": namespace}
        )
        self._most = most_awaited
        self._signer = signer_of(settings)
        self._results = Topic.RESULTS.full(settings.namespace)
        self._schemas = Schemas.of(settings)
        registry = Topic.REGISTRY.full(settings.namespace)
        self._pulse = Pulse(settings, [self._results], [registry, *lane_topics(settings)])
        self._placing = Placing(settings, self._pulse, self._schemas)
        self._publisher = Publisher(settings)
        self._tails: dict[int, asyncio.Task[Tail]] = {}
        self._mine = 0
        self._closed = False
        self._reading = asyncio.Lock()
        self._reader: Reader | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Connect. Raises Unreachable, WrongCredentials, NotFound (no topics)."""
        self._waiting = Waiting(self._most, self._read_again, self._fault)
        await self._pulse.start()
        try:
            self._mine = secrets.randbelow(self._partitions())
            await self._publisher.start()
            await self._placing.start()
        except BaseException:
            await asyncio.gather(self._placing.stop(), self._publisher.stop(), self._pulse.stop())
            raise

    async def close(self) -> None:
        """Write what is left to write, if the broker takes it soon, and disconnect."""
        self._closed = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._publisher.flush()
        self._waiting.close()
        tails = await asyncio.gather(*self._tails.values(), return_exceptions=True)
        await asyncio.gather(*(tail.stop() for tail in tails if isinstance(tail, Tail)))
        await asyncio.gather(self._placing.stop(), self._pulse.stop(), self._publisher.stop())
        if self._reader:
            await asyncio.to_thread(self._reader.close)
        if self._schemas:
            self._schemas.close()

    # Asking --------------------------------------------------------------------------------------

    async def ask(self, model: str, inputs: Sequence[Content], **how: Unpack[How]) -> AsyncReply:
        """Send a request and await its outcome: the reply is there before it is written.

        Without `timeout_s` it may take 60 s. Waits for room while too many are awaited.
        """
        how = {"timeout_s": TIMEOUT_S, **how}
        timeout_s = how["timeout_s"] or TIMEOUT_S
        partitions = self._partitions()
        self._mine %= partitions  # the topic may have been made anew with fewer
        request_id = how.get("request_id") or new_request_id(partitions, {self._mine})
        partition = partition_of(request_id.encode(), partitions)
        record = self._record(request_id, model, inputs, how, partition)
        await self._join(partition)
        reply = await self._waiting.enter(request_id, timeout_s, record)
        record.wanted = lambda: self._waiting.wanted(reply)
        record.done = reply.on_written
        try:
            await self._send(record)
        except BaseException:
            self._waiting.leave(reply)
            raise
        return reply

    async def infer(
        self, model: str, inputs: Sequence[Content], **how: Unpack[How]
    ) -> InferenceResult:
        """Ask and await. Raises CallError with its error's code where it is not COMPLETED."""
        reply = await self.ask(model, inputs, **how)
        return completed(await reply.result())

    async def submit(self, model: str, inputs: Sequence[Content], **how: Unpack[How]) -> str:
        """Write a request whose outcome nobody awaits here; its id, once the broker has it."""
        request_id = how.get("request_id") or new_request_id()
        record = self._record(request_id, model, inputs, how)
        await self._write(record, request_id)
        return request_id

    def _record(
        self,
        request_id: str,
        model: str,
        inputs: Sequence[Content],
        how: How,
        partition: int | None = None,
    ) -> Record:
        asked = Asked.of(request_id, model, inputs, how)
        place = self._placing.partition(model, request_id, asked.lane)
        return asked.record(self.settings, place, partition, self._signer)

    async def cancel(self, request_id: str, *, principal: str = "") -> None:
        """Take a request back; only who asked for it may."""
        signer = self._signer
        whose = signer.principal(principal) if signer else principal or LOCAL
        command = ControlCommand(ControlVerb.CANCEL, request_id, whose)
        topic, key = Topic.CONTROL.full(self.settings.namespace), request_id.encode()
        headers = command_headers(command, signer)
        record = Record(topic, key, encode_control(command), nothing, headers)
        await self._write(record, request_id)

    async def _write(self, record: Record, request_id: str) -> None:
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def decided(answer: Answer) -> None:
            if not answered.done():
                answered.set_result(answer)

        record.done = decided
        record.wanted = lambda: not answered.done()
        try:
            async with asyncio.timeout(WRITE_S):
                await self._send(record)
                answer = await answered
        except TimeoutError:
            why = self._fault() or "the broker does not acknowledge the record; try again"
            raise CallError("broker_unreachable", why, request_id=request_id) from None
        if isinstance(answer, TooLarge):
            message = "the broker takes no record of this size; send its inputs in several requests"
            raise CallError("too_large", message, request_id=request_id)
        if isinstance(answer, Refused):
            raise CallError("forbidden", answer.reason, request_id=request_id)

    async def _send(self, record: Record) -> None:
        if self._closed:
            raise closed()
        while self._publisher.backlog_bytes > UNSENT_BYTES:
            if record.wanted and not record.wanted():
                return
            await asyncio.sleep(LOOK_S)
        record.if_allowed = True
        self._publisher.send(record)

    # Following -----------------------------------------------------------------------------------

    async def results(self, **where: Unpack[Where]) -> Subscription[InferenceResult]:
        """Outcomes, of whoever asked."""
        return await asyncio.to_thread(partial(results_of, self.settings, **where))

    async def progress(self, **where: Unpack[Where]) -> Subscription[ProgressEvent]:
        """How requests get on: those asked with `progress`, and what gateways are asked."""
        return await asyncio.to_thread(partial(progress_of, self.settings, **where))

    async def events(self, **where: Unpack[Where]) -> Subscription[LifecycleEvent]:
        """What happens to models and nodes."""
        return await asyncio.to_thread(partial(events_of, self.settings, **where))

    async def metrics(self, **where: Unpack[Where]) -> Subscription[MetricSample]:
        """What nodes and gateways measure, as it comes."""
        return await asyncio.to_thread(partial(samples_of, self.settings, **where))

    # Replies -------------------------------------------------------------------------------------

    def _partitions(self) -> int:
        """How many `results` has, as last seen: a second ago at most while the broker answers."""
        shape = self._pulse.shapes.get(self._results)
        if shape is None:
            raise NotFound(f"there is no topic {self._results}; run `modelmora topics create`")
        return shape.partitions

    async def _join(self, partition: int) -> None:
        """Read a partition from now on, once; many may wait for it and any of them may leave."""
        joining = self._tails.get(partition)
        if joining is None or (joining.done() and (joining.cancelled() or joining.exception())):
            joining = asyncio.create_task(self._tail(partition), name="replies")
            self._tails[partition] = joining
        await asyncio.shield(joining)

    async def _tail(self, partition: int) -> Tail:
        tail = Tail(self.settings, self._pulse, self._waiting.take, self._schemas)
        try:
            await tail.start({self._results: [partition]}, "end")
        except KafkaError as error:
            raise Unreachable(f"{self._results} cannot be read ({error}); try again") from None
        return tail

    async def _read_again(self, place: Place) -> InferenceResult:
        async with self._reading:
            found = await asyncio.to_thread(self._read, place)
        if found is None:
            raise CallError("gone", "the outcome is no longer kept; take outcomes sooner")
        return found

    def _read(self, place: Place) -> InferenceResult | None:
        if self._reader is None:
            self._reader = Reader(self.settings)
        record = self._reader.one(self._results, *place)
        return decode_result(record.plain) if record else None

    def _fault(self) -> str:
        """Why nothing comes or is taken, "" where nothing is known."""
        if not self._pulse.alive:
            return "the broker does not answer"
        if parked := self._publisher.parked:
            return "; ".join(f"{topic}: {why}" for topic, why in parked.items())
        done = (task for task in self._tails.values() if task.done() and not task.exception())
        return next((fault for task in done if (fault := task.result().fault)), "")


def completed(outcome: InferenceResult) -> InferenceResult:
    """The outcome; raises CallError with the code of its error where it is not COMPLETED."""
    if outcome.status is Status.COMPLETED:
        return outcome
    error = outcome.error
    raise CallError(
        error.code if error else "internal",
        error.message if error else f"the request ended as {outcome.status} without a reason",
        retry_after_ms=error.retry_after_ms if error else None,
        request_id=outcome.request_id,
    )
