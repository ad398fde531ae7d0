"""What a node does for budgets: it charges what no gateway has, and tells the others of it."""

from __future__ import annotations

import time
from uuid import uuid4

from modelmora.access.budgets import Buckets
from modelmora.access.signing import Verifier
from modelmora.agents.requests import Requests
from modelmora.agents.results import Results
from modelmora.agents.retries import Retries
from modelmora.agents.toll import Toll
from modelmora.budgets.sharing import Sharing
from modelmora.kafka.pulse import Pulse
from modelmora.kafka.schema_registry import Schemas
from modelmora.kafka.writing.publisher import Publisher
from modelmora.records import Registry
from modelmora.records.limiting import Limiting
from modelmora.serving import Service
from modelmora.serving.shares import SHARE
from modelmora.settings import Settings


class Charging:
    """The toll before a node's service, and how its budgets are shared."""

    def __init__(
        self,
        settings: Settings,
        name: str,
        registry: Registry,
        parts: tuple[Pulse, Publisher, Schemas | None],
        verifier: Verifier,
        service: Service,
        retries: Retries,
    ) -> None:
        pulse, publisher, schemas = parts
        limiting = Limiting(settings.access.budgets, registry)
        buckets = Buckets(limiting.budgets())
        # Of a process, not of a node: what a former one has used is owed still.
        writer = f"{name}-{uuid4().hex[:12]}"
        self._sharing = Sharing(
            settings, buckets, pulse, publisher.send, writer, schemas, limiting.budgets
        )
        self.toll = Toll(
            buckets,
            self._sharing,
            verifier,
            service,
            retries,
            service.catalogue.meant,
            time.monotonic,
            settings.limits.partition_requests // SHARE,
        )

    def stand_before(self, requests: Requests, results: Results) -> None:
        """Charge these requests from now on, and settle them by these results."""
        requests.toll, results.settle, self.toll.enter = self.toll, self.toll.settle, requests.enter

    async def start(self) -> None:
        """Read what is owed by now. Raises KafkaError."""
        await self._sharing.start()

    async def stop(self) -> None:
        """Tell the others what is left to tell, and hear no more of them."""
        await self.toll.stop()
        self._sharing.leave()
        await self._sharing.stop()
