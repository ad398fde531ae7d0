"""Writing records until the broker has acknowledged them, through its deaths and our own."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial

import structlog
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException, Message

from modelmora.kafka.acls import Operation
from modelmora.kafka.denied import is_denial, on_topic, reason
from modelmora.kafka.writing.outbox import (
    RETRY_S,
    Answer,
    Dropped,
    Ends,
    Flow,
    Headers,
    Outbox,
    Record,
    Refused,
    TooLarge,
    Written,
    goes_alone,
    in_turn,
)
from modelmora.kafka.writing.producing import Client
from modelmora.settings import Settings
from modelmora.wire import Framing

__all__ = [
    "Answer",
    "Dropped",
    "Ends",
    "Headers",
    "Publisher",
    "Record",
    "Refused",
    "TooLarge",
    "Written",
]

log = structlog.get_logger(__name__)
WINDOW_BYTES = 4 << 20
FENCE_S = 0.05
LOOK_S = 0.002
TOO_LARGE = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE}
GIVEN_BACK = {KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT}


class Publisher(Outbox):
    """Takes records at once and keeps each until it is decided; runs on one loop.

    The producer holds few records of each topic, the rest waits here: whether a record is still
    wanted, and whether this process may publish at all, is asked at the last moment. What the
    producer gives back is asked again, so a record may be written twice and is never lost.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        timeout_s: float = 4.0,
        framing: Framing | None = None,
        may_publish: Callable[[], bool] | None = None,
        drop_oldest: Mapping[str, int] | None = None,
    ) -> None:
        """`timeout_s` is how long the producer may try by itself before it gives a record back.

        While `may_publish` is false nothing is handed over. `drop_oldest` names the topics of
        which so many records may wait; the oldest of more are dropped.
        """
        super().__init__(framing, drop_oldest or {})
        self._connect = partial(Client, settings, timeout_s, self._on_fatal, self._on_connected)
        self._may_publish = may_publish
        self._reports: deque[tuple[Record, KafkaError | None, Written]] = deque()
        self._client: Client | None = None
        self._replacing: asyncio.Task[None] | None = None
        self._pumping = self._settling = self._watching = False
        self._renewed = 0
        """How many producers in a row have ended before anything was written."""

    async def start(self) -> None:
        """Connect once; raises Unreachable, WrongCredentials, ConfigurationError."""
        self._loop = asyncio.get_running_loop()
        client = self._connect()
        try:
            await asyncio.to_thread(client.check)
        except BaseException:
            await asyncio.to_thread(client.end)
            raise
        self._use(client)

    def send(self, record: Record) -> None:
        """Take a record, and what goes before it; returns at once."""
        super().send(in_turn(record, self.send))

    async def handed_over(self) -> None:
        """Wait until all that the producer holds now is decided, however much comes behind it."""
        held = [(flow, record) for flow in self._flows.values() for record in flow.under_way]
        while any(record in flow.under_way for flow, record in held):  # noqa: ASYNC110 - rare
            await asyncio.sleep(LOOK_S)

    def wake(self) -> None:
        """Look at once whether something can be handed over."""
        if self._client and self._loop and not self._pumping:
            self._pumping = True
            self._loop.call_soon(self._pump)

    async def stop(self) -> None:
        """Stop writing; what is not acknowledged soon is given up, as a crash would."""
        if self._replacing:
            await asyncio.gather(self._replacing, return_exceptions=True)
        client, self._client = self._client, None
        self.connected = False
        if client:
            await asyncio.to_thread(client.end)
            self._settle()

    # Handing over --------------------------------------------------------------------------------

    def _pump(self) -> None:
        self._pumping = False
        now = time.monotonic()
        for flow in [*self._flows.values()]:  # an answer may begin another
            if self._client is None or not self._hand_over(self._client, flow, flow.room(now)):
                return

    def _hand_over(self, client: Client, flow: Flow, room: int) -> bool:
        """Hand over what there is and may go; False where the fence is closed."""
        waiting, may_publish = flow.waiting, self._may_publish
        while waiting and room > 0 and flow.bytes < WINDOW_BYTES:
            record = waiting[0]
            if record.wanted and not record.wanted():
                self._answer(waiting.popleft(), Dropped())
                continue
            if may_publish and not may_publish():
                if not self._watching:
                    self._watching = True
                    self._later(FENCE_S, self._watch)
                return False
            if record.alone and flow.under_way:
                break
            try:
                record.give_to(client.produce, self._on_report)
            except BufferError:  # looked at again when the producer has given something back
                break
            except KafkaException as error:
                self._failed(flow, waiting.popleft(), error.args[0])
                self.wake()
                break
            flow.under_way[waiting.popleft()] = None
            flow.bytes += record.size
            flow.single = record.alone
            room = 0 if record.alone else room - 1
        return True

    def _watch(self) -> None:
        self._watching = False
        self.wake()

    def _later(self, seconds: float, function: Callable[[], None]) -> None:
        if self._loop:
            self._loop.call_later(seconds, function)

    # Answers -------------------------------------------------------------------------------------

    def _on_report(self, record: Record, error: KafkaError | None, message: Message) -> None:
        """Called by the polling thread."""
        kind, stamp = message.timestamp()
        stamp = stamp if kind == TIMESTAMP_LOG_APPEND_TIME else 0
        written = Written(message.partition(), message.offset(), stamp)
        self._reports.append((record, error, written))
        if not self._settling:
            self._settling = True
            self._call(self._settle)

    def _settle(self) -> None:
        self._settling = False
        flows, reports = self._flows, self._reports
        while reports:
            record, error, written = reports.popleft()
            flow = flows[record.topic]
            del flow.under_way[record]
            flow.bytes -= record.size
            if error:
                self._failed(flow, record, error)
                continue
            if flow.fault:
                flow.unpark()
            self._renewed = 0
            self._answer(record, written)
        self.wake()

    def _failed(self, flow: Flow, record: Record, error: KafkaError) -> None:
        """Decide what follows a failure; the record waits again unless it is too large for ever.

        1. Too large: so is every record that goes alone; one among others is tried alone.
        2. A partition that the topic lacks: by key.
        3. A fatal error: another producer. Given back on our own order: nothing.
        4. Not taken in time: the producer gives back what it has not sent, to keep the order.
        5. Anything else is the topic's own trouble, and parks it; an optional record is refused,
           also where it was late twice while the broker answers, unless it ends a request: late,
           it may lie there all the same, and what reads it there would give a second outcome.
        """
        code = error.code()
        if code in TOO_LARGE and goes_alone(record):
            self._answer(record, TooLarge())
            return
        if gives_up(record, error, self.connected and record.ends is None):
            needed = on_topic(Operation.WRITE, record.topic)
            self._answer(record, Refused(reason(error, needed)))
            return
        flow.again.append(record)
        if code in TOO_LARGE:
            record.alone = True
        elif code == KafkaError._UNKNOWN_PARTITION and record.partition is not None:
            record.partition = None
        elif error.fatal() or code == KafkaError._FATAL:
            self._replace(self._client)
        elif code == KafkaError._MSG_TIMED_OUT:
            if self._client:
                self._client.take_back()
        elif code not in GIVEN_BACK and (pause := flow.park(error)):
            self._later(pause, partial(self._rested, flow))

    def _rested(self, flow: Flow) -> None:
        """Ask a topic again. The timer itself ends the rest: uvloop's may ring before its time."""
        flow.resume = 0.0
        self.wake()

    # The producer --------------------------------------------------------------------------------

    def _use(self, client: Client) -> None:
        self._client = client
        self.connected = True
        self.wake()

    def _on_connected(self, connected: bool) -> None:
        """Called by the polling thread."""
        log.warning("broker answers again" if connected else "broker does not answer")
        self.connected = connected

    def _on_fatal(self, client: Client) -> None:
        """Called by the polling thread."""
        self._call(partial(self._replace, client))

    def _replace(self, client: Client | None) -> None:
        """An idempotent producer never leaves a fatal error: another takes what it holds.

        Its end is reported more than once, perhaps when the other is there already.
        """
        if client and client is self._client and self._loop:
            self._client = None
            log.warning("producer replaced", open=self.backlog)
            self._replacing = self._loop.create_task(self._renew(client), name="publisher")

    async def _renew(self, client: Client) -> None:
        await asyncio.to_thread(client.end)
        self._settle()
        for flow in self._flows.values():  # nothing, unless the producer's end took too long
            flow.again.extend(flow.under_way)
            flow.under_way.clear()
            flow.bytes = 0
        await asyncio.sleep(RETRY_S[min(self._renewed, len(RETRY_S) - 1)])
        self._renewed += 1
        self._use(self._connect())


def gives_up(record: Record, error: KafkaError, connected: bool) -> bool:
    """Whether a record is optional and its topic alone is why it failed, or goes only if allowed.

    Where it was not taken in time that is so the second time, if the broker answers otherwise.
    """
    code = error.code()
    if record.if_allowed and is_denial(error):
        return True
    if not record.optional or error.fatal():
        return False
    if code in {*TOO_LARGE, *GIVEN_BACK, KafkaError._FATAL}:
        return False
    if code == KafkaError._MSG_TIMED_OUT:
        late, record.late = record.late, True
        return late and connected
    return code != KafkaError._UNKNOWN_PARTITION or record.partition is None
