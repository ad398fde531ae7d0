"""The reader that copies: while there is a route for it, what it is for, and never far behind."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from confluent_kafka import OFFSET_END, KafkaError, TopicPartition
from structlog.testing import capture_logs

from modelmora.agents.shadows import copier as copiers
from modelmora.agents.shadows.copier import MOST_BEHIND_MS, Copier
from modelmora.kafka.writing.publisher import Record as Outgoing
from modelmora.routing import Steps
from modelmora.settings import Settings
from modelmora.settings.routes import Route
from modelmora.testing.fakes import UNIX_MS

SHADOWED: Steps = ((0, Route(weights={"1": 1}, shadow={"2": 10})),)
PLAIN: Steps = ((0, Route(weights={"1": 1})),)
LANES = ("critical", "high", "normal", "low")
TOPIC = "ns.requests.normal"
CAP_S = 30.0


@dataclass
class Message:
    """What librdkafka hands over."""

    name: bytes | None = b"echo"
    at: int = UNIX_MS
    fault: KafkaError | None = None
    number: int = 0

    def error(self) -> KafkaError | None:
        return self.fault

    def key(self) -> bytes | None:
        return self.name

    def value(self) -> bytes:
        return b"value"

    def topic(self) -> str:
        return TOPIC

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return self.number

    def timestamp(self) -> tuple[int, int]:
        return 2, self.at

    def headers(self) -> list[tuple[str, bytes]]:
        return []


@dataclass
class Broker:
    """What there is to be read, and what the consumers did."""

    fetches: deque[list[Message]] = field(default_factory=deque)
    config: dict[str, Any] = field(default_factory=dict)
    topics: list[str] = field(default_factory=list)
    sought: list[TopicPartition] = field(default_factory=list)
    opened: int = 0
    closed: int = 0

    def consumer(self, config: dict[str, Any], **_: object) -> Broker:
        self.config, self.opened = config, self.opened + 1
        return self

    def subscribe(self, topics: list[str]) -> None:
        self.topics = topics

    def consume(self, _count: int, wait_s: float) -> list[Message]:
        if self.fetches:
            return self.fetches.popleft()
        threading.Event().wait(min(wait_s, 0.01))
        return []

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition(TOPIC, 3)]

    def seek(self, place: TopicPartition) -> None:
        self.sought.append(place)

    def close(self) -> None:
        self.closed += 1


class Copying:
    """One copy of each record."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytes | None, int]] = []
        self.odd = -1
        """The offset of one that cannot be copied."""

    def of(self, record: Any, routes: object) -> list[Outgoing]:
        if record.offset == self.odd:
            raise RuntimeError("odd")
        self.seen.append((record.key, record.offset))
        return [Outgoing("ns.shadow", record.key, record.value, lambda _: None)]


class Desk:
    """A copier, its broker, and the routes there are."""

    def __init__(self, broker: Broker) -> None:
        self.broker, self.copying = broker, Copying()
        self.routes: dict[str, Steps] = {"echo": SHADOWED, "plain": PLAIN}
        self.sent: list[Outgoing] = []
        self.counts: list[str] = []
        self.backlog = 0
        self.copier = Copier(
            Settings(namespace="ns", bootstrap_servers="127.0.0.1:1"),
            self.copying,  # type: ignore[arg-type]
            self.sent.append,
            lambda: self.routes,
            lambda: float(UNIX_MS),
            lambda: self.backlog,
            self.counts.append,
        )

    async def until(self, seen: Callable[[], bool]) -> None:
        async with asyncio.timeout(CAP_S):
            while not seen():  # noqa: ASYNC110 - threads do it
                await asyncio.sleep(0.005)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    found = Broker()
    monkeypatch.setattr(copiers, "Consumer", found.consumer)
    return found


@pytest.fixture
async def desk(broker: Broker) -> Any:
    desk = Desk(broker)
    yield desk
    await desk.copier.stop()


async def test_it_reads_while_a_route_asks_for_copies(desk: Desk) -> None:
    desk.routes = {"plain": PLAIN}
    desk.copier.look()
    assert desk.broker.opened == 0
    desk.routes = {"echo": SHADOWED}
    desk.copier.look()
    await desk.until(lambda: bool(desk.broker.topics))
    assert desk.broker.config["group.id"] == "ns.nodes.shadow"
    assert desk.broker.topics == [f"ns.requests.{lane}" for lane in LANES]
    desk.copier.look()
    desk.routes = {}
    desk.copier.look()
    await desk.until(lambda: desk.broker.closed == 1)
    assert desk.broker.opened == 1
    desk.routes = {"echo": SHADOWED}

    def again() -> bool:
        desk.copier.look()
        return desk.broker.opened == 2

    await desk.until(again)


async def test_only_what_may_be_of_such_a_route_is_looked_at(desk: Desk) -> None:
    names = (b"plain", b"echo", None, b"echo@1", b"other", b"")
    desk.broker.fetches.append([Message(name, number=n) for n, name in enumerate(names)])
    desk.copier.look()
    await desk.until(lambda: len(desk.sent) == 3)
    assert desk.copying.seen == [(b"echo", 1), (None, 2), (b"", 5)]
    assert desk.counts == ["copied"] * 3


async def test_one_that_cannot_be_copied_holds_up_no_other(desk: Desk) -> None:
    """And the log says which."""
    desk.copying.odd = 1
    desk.broker.fetches.append([Message(number=number) for number in range(3)])
    with capture_logs() as lines:
        desk.copier.look()
        await desk.until(lambda: len(desk.sent) == 2)
    assert [line["event"] for line in lines].count("a request was not copied") == 1


async def test_where_it_is_far_behind_it_goes_on_at_the_end(desk: Desk) -> None:
    old = Message(at=UNIX_MS - MOST_BEHIND_MS - 1)
    desk.broker.fetches += [[old, Message(number=1)], [Message(number=2)]]
    desk.copier.look()
    await desk.until(lambda: len(desk.sent) == 1)
    (place,) = desk.broker.sought
    assert (place.topic, place.partition, place.offset) == (TOPIC, 3, OFFSET_END)
    assert desk.copying.seen == [(b"echo", 2)]
    assert desk.counts == ["skipped", "copied"]


async def test_it_is_no_faster_than_copies_are_written(desk: Desk) -> None:
    desk.backlog = copiers.MOST + 1
    desk.broker.fetches += [[Message(number=1)], [Message(number=2)]]
    desk.copier.look()
    await desk.until(lambda: len(desk.sent) == 1)
    await asyncio.sleep(0.1)
    assert len(desk.sent) == 1
    desk.backlog = 0
    await desk.until(lambda: len(desk.sent) == 2)


async def test_what_is_denied_is_named_once(desk: Desk) -> None:
    denied = Message(fault=KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED))
    desk.broker.fetches += [[denied], [denied], [Message()]]
    with capture_logs() as lines:
        desk.copier.look()
        await desk.until(lambda: len(desk.sent) == 1)
    denials = [line["reason"] for line in lines if "Read on group ns.nodes.shadow" in str(line)]
    assert len(denials) == 1
