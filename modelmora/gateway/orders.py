"""Orders of callers to the nodes: written to `control`, and what became of them, from `events`."""

from __future__ import annotations

import asyncio

from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaError

from modelmora.errors import Code, Undecodable
from modelmora.gateway.hall import Wish
from modelmora.gateway.outcomes import Refusal
from modelmora.kafka.orders import Order
from modelmora.kafka.pulse import Pulse
from modelmora.kafka.schema_registry import Schemas
from modelmora.kafka.tail import Tail
from modelmora.kafka.topics import Topic
from modelmora.kafka.writing.outbox import Outbox, Written
from modelmora.kafka.writing.publisher import Answer, Record
from modelmora.messages import ControlCommand, LifecycleEvent
from modelmora.messages.headers import PRINCIPAL
from modelmora.settings import Settings
from modelmora.web.problems import DoorCode
from modelmora.wire import decode_event, encode_control, partition_of

ACKNOWLEDGE_S = 5.0
HEARD_S = 5.0
"""How long a node may take to say that it has heard of an order."""
CALLER = "local"


class Orders:
    """Gives orders; each that is waited for reads the one partition of events of its model."""

    def __init__(
        self, settings: Settings, pulse: Pulse, publisher: Outbox, schemas: Schemas | None
    ) -> None:
        self._settings = settings
        self._pulse = pulse
        self._publisher = publisher
        self._schemas = schemas
        self._control = Topic.CONTROL.full(settings.namespace)
        self._events = Topic.EVENTS.full(settings.namespace)

    async def give(self, wish: Wish) -> Order:
        """The order, and what has become of it within the time that the caller waits.

        Raises Refusal: `broker_unreachable`, `unknown_model`, `refused`, and `model_unavailable`
        where it was in vain.
        """
        if not {self._control, self._events} <= self._pulse.shapes.keys():
            raise _unreachable("the topics `control` and `events` are not there")
        if not wish.wait_s:
            return Order(wish.verb, await self._write(wish))
        events: asyncio.Queue[LifecycleEvent] = asyncio.Queue()

        def take(record: ConsumerRecord) -> None:
            try:
                events.put_nowait(decode_event(record.value))
            except Undecodable:
                return  # the event of somebody else

        tail = Tail(self._settings, self._pulse, take, self._schemas)
        name = wish.model.partition("@")[0]
        partition = partition_of(name.encode(), self._pulse.shapes[self._events].partitions)
        try:
            await tail.start({self._events: [partition]}, "end")
            order = Order(wish.verb, await self._write(wish))
            await _follow(order, events, wish.wait_s)
        except KafkaError as error:
            raise _unreachable(type(error).__name__) from None
        finally:
            await tail.stop()
        return _checked(order, wish)

    async def _write(self, wish: Wish) -> int:
        """Write the command; its offset."""
        written: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def done(answer: Answer) -> None:
            if not written.done():
                written.set_result(answer)

        command = ControlCommand(wish.verb, wish.model, CALLER, wish.everywhere)
        headers = ((PRINCIPAL, CALLER.encode()),)
        record = Record(
            self._control, wish.model.encode(), encode_control(command), done, headers, 0
        )
        record.wanted = lambda: not written.done()
        self._publisher.send(record)
        try:
            answer = await asyncio.wait_for(written, ACKNOWLEDGE_S)
        except TimeoutError:
            raise _unreachable("it does not acknowledge the command") from None
        if not isinstance(answer, Written):
            raise _unreachable("it refuses the command")
        return answer.offset


async def _follow(order: Order, events: asyncio.Queue[LifecycleEvent], wait_s: float) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not order.done:
        limit = max(wait_s, HEARD_S) if order.heard else HEARD_S
        try:
            async with asyncio.timeout_at(began + limit):
                order.take(await events.get())
        except TimeoutError:
            return


def _checked(order: Order, wish: Wish) -> Order:
    """The order, unless it was in vain; raises Refusal."""
    if not order.answers:
        raise Refusal(Code.UNKNOWN_MODEL, f"no node that runs serves {wish.model}")
    for each in order.answers.values():
        if each.reason and each.state is None:
            raise Refusal(DoorCode.REFUSED, each.reason)
        if each.reason:
            raise Refusal(Code.MODEL_UNAVAILABLE, f"{each.model} on {each.node}: {each.reason}")
    return order


def _unreachable(why: str) -> Refusal:
    return Refusal(DoorCode.BROKER_UNREACHABLE, f"the broker: {why}; try again a little later")
