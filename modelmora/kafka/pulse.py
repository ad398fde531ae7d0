"""Whether the broker answers, asked once a second even when nobody else asks it anything."""

from __future__ import annotations

import asyncio

import structlog
from aiokafka import AIOKafkaConsumer

from modelmora.kafka.connection import aiokafka_config
from modelmora.settings import Settings

log = structlog.get_logger(__name__)
BEAT_S = 1.0
PATIENCE_S = 3.0


class Pulse:
    """Asks the cluster for its metadata; `alive` is false from the first question not answered."""

    def __init__(self, settings: Settings) -> None:
        self._config = aiokafka_config(settings)
        self._consumer: AIOKafkaConsumer | None = None
        self._task: asyncio.Task[None] | None = None
        self.alive = False

    async def start(self) -> None:
        """Connect and ask from then on."""
        self._consumer = AIOKafkaConsumer(**self._config)
        try:
            await self._consumer.start()
        except BaseException:
            await self._consumer.stop()
            raise
        self.alive = True
        self._task = asyncio.create_task(self._beat(self._consumer), name="pulse")

    async def stop(self) -> None:
        """Ask no more."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._consumer:
            await self._consumer.stop()

    async def _beat(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await consumer.topics()
            except Exception as error:  # noqa: BLE001 - whoever stops asking says `alive` for ever
                self._turn(alive=False, error=type(error).__name__)
            else:
                self._turn(alive=True)

    def _turn(self, *, alive: bool, error: str | None = None) -> None:
        if alive != self.alive:
            self.alive = alive
            log.warning("broker answers again" if alive else "broker does not answer", error=error)
