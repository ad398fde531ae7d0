"""Commands to this node, and the registry, read in full by every node."""

from __future__ import annotations

import structlog
from aiokafka import ConsumerRecord

from modelmora.agents.models import Models
from modelmora.errors import NotFound, Undecodable
from modelmora.kafka.leases import Leases
from modelmora.kafka.pulse import Pulse
from modelmora.kafka.schema_registry import Schemas
from modelmora.kafka.tail import Tail
from modelmora.kafka.topics import Topic
from modelmora.messages import ControlCommand, ControlVerb
from modelmora.serving import Service
from modelmora.settings import Settings
from modelmora.wire import decode_control, decode_registry

log = structlog.get_logger(__name__)


class Control:
    """Reads `control` and `registry` from their beginning, without a group.

    A cancel is honoured however old it is, so that it outlives a crash and may precede its
    request; other commands are for now, and only count once the past has been read.
    """

    def __init__(
        self,
        settings: Settings,
        service: Service,
        models: Models,
        leases: Leases,
        pulse: Pulse,
        schemas: Schemas | None = None,
    ) -> None:
        self._control = Topic.CONTROL.full(settings.namespace)
        self._registry = Topic.REGISTRY.full(settings.namespace)
        self._service = service
        self._models = models
        self._leases = models.declaring.leases = leases
        self._live = False
        self._tail = Tail(settings, pulse, self._on_record, schemas, on_anew=self._on_anew)

    async def start(self) -> None:
        """Read everything there is, then go on reading."""
        await self._tail.start({self._control: [0], self._registry: [0]}, "beginning")
        await self._tail.caught_up()
        self._live = True

    async def stop(self) -> None:
        """Read no more."""
        await self._tail.stop()

    def _on_anew(self, topic: str) -> None:
        if topic == self._registry:
            self._models.tell_anew()

    def _on_record(self, record: ConsumerRecord) -> None:
        try:
            if record.topic == self._registry:
                self._on_fact(record)
            else:
                self._obey(decode_control(record.value), record.timestamp)
        except Undecodable as error:
            log.warning("unreadable command", topic=record.topic, offset=record.offset, why=error)
        except NotFound as error:
            log.info("command for a model that is not here", why=str(error))

    def _on_fact(self, record: ConsumerRecord) -> None:
        fact = None if record.value is None else decode_registry(record.value)
        key = record.key or b""
        if not self._leases.take(key, fact, record.timestamp):
            self._models.heard(key, fact, record.offset)

    def _obey(self, command: ControlCommand, at_ms: int) -> None:
        if command.verb is ControlVerb.CANCEL:
            self._service.cancel(command.target, at_ms)
            return
        if not self._live:
            return
        key = self._service.named(command.target)
        match command.verb:
            case ControlVerb.LOAD | ControlVerb.WARM_UP:
                self._service.load(key)
            case ControlVerb.UNLOAD:
                self._service.unload(key)
            case ControlVerb.PIN:
                self._service.pin(key)
