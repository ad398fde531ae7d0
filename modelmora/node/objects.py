"""What a node does with the object store: outputs go there, and what has expired goes away."""

from __future__ import annotations

import asyncio
import random
from typing import Self

import structlog

from modelmora.errors import ModelMoraError
from modelmora.objects import Objects, open_objects
from modelmora.objects.folder import FolderStore
from modelmora.objects.moving import Moving
from modelmora.settings import Settings

log = structlog.get_logger(__name__)
SWEEP_S = 60.0


class Shelf:
    """The objects of this node, and what moves there."""

    def __init__(self, objects: Objects, spill: FolderStore) -> None:
        self.objects = objects
        self.moving = Moving(objects, spill)
        self._spill = spill

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """None where no store is set. Raises ConfigurationError."""
        objects = open_objects(settings)
        if objects is None:
            return None
        spill = FolderStore(settings.data_dir / "spill", settings.objects.quota_bytes)
        return cls(objects, spill)

    async def sweep(self) -> None:
        """Let go of what has expired, again and again; other nodes may do the same."""
        while True:
            try:
                swept = await asyncio.to_thread(self.objects.sweep)
                await asyncio.to_thread(self._spill.sweep, 0)
                if swept:
                    log.info("expired objects are gone", objects=swept)
            except ModelMoraError as error:
                log.warning("expired objects were not swept", reason=str(error))
            await asyncio.sleep(SWEEP_S * random.uniform(0.5, 1.5))  # noqa: S311

    async def stop(self) -> None:
        """Leave what is on its way."""
        await self.moving.stop()
