"""Orders of callers to the nodes: written to `control`, and what became of them, from `events`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from aiokafka.errors import KafkaError

from modelmora.access.signing import Signer
from modelmora.errors import Code
from modelmora.gateway.caller import caller
from modelmora.gateway.hall import Wish
from modelmora.gateway.listening import Listening
from modelmora.gateway.outcomes import Refusal
from modelmora.kafka.commands import command_headers
from modelmora.kafka.leases import NodeLease
from modelmora.kafka.orders import Order
from modelmora.kafka.pulse import Pulse
from modelmora.kafka.reading.tail import Handler, Tail
from modelmora.kafka.schema_registry import Schemas
from modelmora.kafka.topics import Topic
from modelmora.kafka.writing.outbox import Outbox, Written
from modelmora.kafka.writing.publisher import Answer, Record
from modelmora.messages import ControlCommand, ControlVerb, RegistryRecord
from modelmora.records import details_of
from modelmora.settings import Settings
from modelmora.web.problems import DoorCode
from modelmora.wire import encode_control, partition_of

ACKNOWLEDGE_S = 5.0
SHOWN_S = 2.0
"""How long an answer waits until the registry tells the same."""


class Orders:
    """Gives orders; at most `limits.gateway_waiting` at once."""

    def __init__(
        self,
        settings: Settings,
        pulse: Pulse,
        publisher: Outbox,
        schemas: Schemas | None,
        signer: Signer | None = None,
    ) -> None:
        self._settings = settings
        self._pulse = pulse
        self._publisher = publisher
        self._schemas = schemas
        self._signer = signer
        self._control = Topic.CONTROL.full(settings.namespace)
        self._events = Topic.EVENTS.full(settings.namespace)
        self._listening = Listening(self._tail)
        self._under_way = 0

    async def give(self, wish: Wish) -> Order:
        """The order, and what has become of it within the time that the caller waits.

        Raises Refusal: `busy`, `broker_unreachable`, `unknown_model`, `refused`, and
        `model_unavailable` where it was in vain.
        """
        if not {self._control, self._events} <= self._pulse.shapes.keys():
            raise _unreachable("the topics `control` and `events` are not there")
        limit = self._settings.limits.gateway_waiting
        if self._under_way >= limit:
            raise Refusal(Code.BUSY, f"{limit} orders are waiting here; try again a little later")
        self._under_way += 1
        try:
            return await self._give(wish)
        except KafkaError as error:
            raise _unreachable(type(error).__name__) from None
        finally:
            self._under_way -= 1

    async def _give(self, wish: Wish) -> Order:
        if not wish.wait_s:
            return Order(wish.verb, await self._write(wish))
        name = wish.model.partition("@")[0]
        partition = partition_of(name.encode(), self._pulse.shapes[self._events].partitions)
        async with self._listening.to(partition) as waiter:
            order = Order(wish.verb, await self._write(wish))
            await waiter.follow(order, wish.wait_s)
        return _checked(order, wish)

    async def _tail(self, partition: int, handle: Handler) -> Tail:
        tail = Tail(self._settings, self._pulse, handle, self._schemas)
        await tail.start({self._events: [partition]}, "end")
        return tail

    async def _write(self, wish: Wish) -> int:
        """Write the command; its offset."""
        written: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def done(answer: Answer) -> None:
            if not written.done():
                written.set_result(answer)

        command = ControlCommand(wish.verb, wish.model, caller.get(), wish.everywhere)
        headers = command_headers(command, self._signer)
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


def is_shown(
    order: Order, status: Mapping[str, NodeLease], models: Iterable[RegistryRecord]
) -> bool:
    """Whether the registry as it was read here says what nodes have answered.

    `status` is what each node has told last.
    """
    pinned = {f"{each.name}@{each.version}": details_of(each).pinned for each in models}
    for each in order.answers.values():
        if not each.done or each.reason:
            continue
        lease = status.get(each.node)
        there = lease.health(each.model) if lease else None
        if order.verb in (ControlVerb.PIN, ControlVerb.UNPIN):
            wanted = order.verb is ControlVerb.PIN
            kept = lease.holds(each.model).pinned if lease and there else wanted
            if not pinned.get(each.model, wanted) == kept == wanted:
                return False
        elif there and there.state is not each.state:
            return False
    return True


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
