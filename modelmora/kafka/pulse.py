"""Whether the broker answers and how our topics lie, asked once a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from modelmora.kafka.acls import Operation
from modelmora.kafka.admin import explain
from modelmora.kafka.background import background
from modelmora.kafka.connection import bootstrap_servers, confluent_config
from modelmora.kafka.denied import is_denial, not_allowed, on_topic
from modelmora.kafka.refused import Refusals
from modelmora.settings import Settings

log = structlog.get_logger(__name__)
BEAT_S = 1.0
PATIENCE_S = 3.0
HUNG_S = 10.0
"""A question without an answer for so long gets none, whatever its client says."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A topic as the brokers have it; one that was deleted and made anew has another `id`."""

    id: str
    partitions: int


class Pulse:
    """Asks the cluster for topics of these names.

    `alive` is false from the first question not answered. `shapes` has the topics that there are,
    as they were last seen; it is another mapping whenever one has changed.
    """

    def __init__(
        self, settings: Settings, names: Iterable[str], where_allowed: Iterable[str] = ()
    ) -> None:
        """Topics `where_allowed` count as missing where the brokers do not let us see them."""
        self._where_allowed = frozenset(where_allowed)
        self._names = [*names, *self._where_allowed]
        self._servers = bootstrap_servers(settings)
        self._heard = Refusals()
        self._config = confluent_config(settings) | {"error_cb": self._heard.on_error}
        self._client: AdminClient | None = None
        self._task: asyncio.Task[None] | None = None
        self._answered = False
        self._refused: str | None = None
        """What the log was told."""
        self._answered_at: float | None = None
        self.shapes: Mapping[str, Shape] = {}
        self._leaders: Mapping[Hashable, int] = {}

    @property
    def alive(self) -> bool:
        """Whether the last question was answered and more will be asked."""
        return self._answered and self._task is not None and not self._task.done()

    @property
    def refused(self) -> str | None:
        """Why the broker does not let us in, where that is why it does not answer."""
        return str(self._heard.error) if self._heard.error and not self.alive else None

    @property
    def answered_s(self) -> float:
        """How long ago the last question was answered; 0 before the first."""
        return 0.0 if self._answered_at is None else time.monotonic() - self._answered_at

    def leader(self, partition: Hashable) -> int | None:
        """The broker that leads this (topic, number); None where nobody is known to."""
        return self._leaders.get(partition)

    async def start(self) -> None:
        """Ask once, and from then on. Raises Unreachable, WrongCredentials."""
        client = self._client = AdminClient(self._config)
        try:
            self.shapes = await self._ask(client)
        except KafkaException as error:
            raise explain(error, self._servers) from None
        self._answered = True
        self._answered_at = time.monotonic()
        self._task = background(self._beat(client), "pulse")

    async def stop(self) -> None:
        """Ask no more."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._client = None

    async def _beat(self, client: AdminClient) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            try:
                async with asyncio.timeout(HUNG_S):
                    shapes = await self._ask(client)
            except Exception as error:  # noqa: BLE001 - whoever stops asking says nothing any more
                # A client tells of a refusal only when it is asked to; its answers just time out.
                client.poll(0)
                self._turn(answered=False, error=self.refused or repr(error))
            else:
                self._heard.error = None
                self._turn(answered=True)
                if shapes != self.shapes:
                    log.info("topics changed", topics=_differing(self.shapes, shapes))
                    self.shapes = shapes

    async def _ask(self, client: AdminClient) -> dict[str, Shape]:
        asked = client.describe_topics(TopicCollection(self._names), request_timeout=PATIENCE_S)
        # Shielded: an answer to a question that was taken back upsets the client's own thread.
        answers = await asyncio.shield(
            asyncio.gather(*map(asyncio.wrap_future, asked.values()), return_exceptions=True)
        )
        shapes = {}
        leaders: dict[Hashable, int] = {}
        for name, answer in zip(asked, answers, strict=True):
            if not isinstance(answer, BaseException):
                shapes[name] = Shape(str(answer.topic_id), len(answer.partitions))
                led = (each for each in answer.partitions if each.leader)
                leaders |= {(name, each.id): each.leader.id for each in led}
            elif not self._is_missing(name, answer):
                if isinstance(answer, KafkaException) and is_denial(answer):
                    raise not_allowed(on_topic(Operation.READ, name))
                # A new one: this frame holds the other, which would hold this frame.
                raise type(answer)(*answer.args)
        self._leaders = leaders
        return shapes

    def _is_missing(self, name: str, error: BaseException) -> bool:
        code = error.args[0].code() if isinstance(error, KafkaException) else None
        denied = code == KafkaError.TOPIC_AUTHORIZATION_FAILED
        return code == KafkaError.UNKNOWN_TOPIC_OR_PART or (denied and name in self._where_allowed)

    def _turn(self, *, answered: bool, error: str | None = None) -> None:
        if answered:
            self._answered_at = time.monotonic()
        if answered != self._answered or self.refused != self._refused:
            self._answered, self._refused = answered, self.refused
            log.warning(
                "broker answers again" if answered else "broker does not answer", error=error
            )


def _differing(before: Mapping[str, Shape], now: Mapping[str, Shape]) -> dict[str, int | None]:
    """Partition counts of what has changed, None where a topic is gone."""
    return {
        name: now[name].partitions if name in now else None
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    }
