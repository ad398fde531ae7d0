"""Commands to this node, and the registry, read in full by every node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import structlog
from aiokafka import ConsumerRecord, TopicPartition

from modelmora.access.signing import Verifier, Whose
from modelmora.agents.lifecycle import Lifecycle
from modelmora.agents.models.orders import is_ours
from modelmora.agents.models.served import Models
from modelmora.audit.auditor import Tell, untold
from modelmora.errors import Code, ModelMoraError, NotFound, Undecodable
from modelmora.kafka.leases import Leases
from modelmora.kafka.pulse import Pulse
from modelmora.kafka.reading.tail import Tail
from modelmora.kafka.schema_registry import Schemas
from modelmora.kafka.topics import Topic
from modelmora.messages import (
    ControlCommand,
    ControlVerb,
    EventKind,
    Health,
    Parameter,
    RegistryRecord,
)
from modelmora.messages.headers import GATEWAY, PRINCIPAL
from modelmora.records.reading import Reading
from modelmora.scheduling import ModelKey
from modelmora.serving import Cancel, Service
from modelmora.settings import Settings
from modelmora.wire import decode_control, decode_registry

log = structlog.get_logger(__name__)
FORGED = "its signature is not of this command as it is, or was made more than 5 minutes away"


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
        lifecycle: Lifecycle,
        schemas: Schemas | None = None,
        audit: Tell = untold,
        verifier: Verifier | None = None,
    ) -> None:
        self._audit = audit
        self._verifier = verifier or Verifier()
        self.forbids: Callable[[str, ControlVerb, ModelKey], str | None] = lambda *_: None
        """Why a principal may not order this of a model; None: it may."""
        self.on_fact: Callable[[bytes, RegistryRecord | None, int], None] = lambda *_: None
        """Told of each record of the registry but leases, once it was taken."""
        self._control = Topic.CONTROL.full(settings.namespace)
        self._registry = Topic.REGISTRY.full(settings.namespace)
        self._service = service
        self._models = models
        self._leases = models.declaring.leases = leases
        self._lifecycle = lifecycle
        self._live = False
        self._pulse = pulse
        self._reading = Reading(models.state, settings, "node")
        self._tail = Tail(settings, pulse, self._on_record, schemas, on_anew=self._on_anew)

    async def start(self) -> None:
        """Read everything there is, then go on reading."""
        shape, place = self._pulse.shapes.get(self._registry), TopicPartition(self._registry, 0)
        asked = await self._reading.begin(shape.id if shape else "")
        whole = {self._control: [0], self._registry: [0]}
        begun = await self._tail.start(whole, "beginning", {place: asked})
        self._reading.begun(asked, begun[place])
        await self._tail.caught_up()
        self._live = True

    async def stop(self) -> None:
        """Read no more."""
        await self._tail.stop()
        await self._reading.end()

    def fault(self) -> str | None:
        """Why orders and the registry are not read, None while they are."""
        return self._tail.fault if self._live else "the registry is not read to its end"

    def keep(self) -> None:
        """To be called now and then: keep what was read of the registry."""
        self._reading.keep()

    def _on_anew(self, topic: str) -> None:
        if topic == self._registry:
            self._models.tell_anew()
            self._reading.anew()

    def _on_record(self, record: ConsumerRecord) -> None:
        try:
            if record.topic == self._registry:
                self._on_fact(record)
            else:
                self._hear(decode_control(record.value), record)
        except Undecodable as error:
            log.warning("unreadable command", topic=record.topic, offset=record.offset, why=error)

    def _on_fact(self, record: ConsumerRecord) -> None:
        fact = None if record.value is None else decode_registry(record.value)
        key = record.key or b""
        self._reading.note(key, record.offset, record.timestamp)
        if not self._leases.take(key, fact, record.timestamp):
            self._models.heard(key, fact, record.offset, record.timestamp)
            self.on_fact(key, fact, record.offset)

    def _hear(self, command: ControlCommand, record: ConsumerRecord) -> None:
        whose = self._verifier.of_command(record.headers, command, record.timestamp)
        command = replace(command, principal=whose.principal)
        if command.verb is ControlVerb.CANCEL:
            self._cancel(command, record, whose)
            return
        if not self._live:
            return
        try:
            keys = self._service.named(command.target)
        except NotFound as error:
            log.info("command for a model that is not here", why=str(error))
            return
        for key in keys:
            answer = partial(self._answer, command, record.offset, key)
            try:
                self._obey(command, key, answer, whose)
            except ModelMoraError as error:
                answer(None, str(error))

    def _cancel(self, command: ControlCommand, record: ConsumerRecord, whose: Whose) -> None:
        """Cancel what its principal has asked; one that proves nothing ends nobody else's."""
        if not whose.forged:
            principal = whose.principal if self._verifier.asks else None
            self._service.cancel(command.target, _cancel(record, principal))
        elif self._live:
            about = command.target
            self._audit("cancel", whose.principal, allowed=False, reason=FORGED, request_id=about)

    def _answer(
        self,
        command: ControlCommand,
        offset: int,
        key: ModelKey,
        health: Health | None,
        fault: str | None = None,
        *,
        allowed: bool = True,
    ) -> None:
        """Tell where the model stands after a command, or why it was not obeyed."""
        facts: dict[str, Parameter] = {"verb": command.verb.value, "command_offset": offset}
        if health:
            facts["state"] = health.state.value
        facts["message"] = health.reason if health else fault
        facts["nodes"] = self._expected(command)
        self._lifecycle.event(EventKind.ANSWERED, key, facts)
        verb, reason = command.verb.value.lower(), fault and f"not obeyed: {fault}"
        model = "@".join(key)
        self._audit(verb, command.principal, allowed=allowed, model=model, reason=reason)

    def _obey(
        self, command: ControlCommand, key: ModelKey, answer: Callable[..., None], whose: Whose
    ) -> None:
        """Do it where it is this node's to do and who orders it may, and answer.

        A pin is what the registry says of the model, so one node writes it, and all read it. It is
        answered once it was read back and is kept here.
        """
        living = self._leases.living()
        if self._is_for_one(command) and not is_ours(key, self._lifecycle.node, living):
            return
        if why := FORGED if whose.forged else self.forbids(whose.principal, command.verb, key):
            answer(None, f"{Code.FORBIDDEN}: {why}", allowed=False)
            return
        match command.verb:
            case ControlVerb.UNLOAD:
                answer(self._service.unload(key))
            case ControlVerb.PIN | ControlVerb.UNPIN:
                pinned = command.verb is ControlVerb.PIN
                self._models.declaring.change(*key, partial(self._kept, key, answer), pinned=pinned)
            case _:
                answer(self._service.load(key))

    def _kept(self, key: ModelKey, answer: Callable[..., None], fault: str | None) -> None:
        """The registry has taken a change, or not."""

        def tell() -> None:
            try:
                answer(self._service.health(key))
            except NotFound as error:  # retired at the same time
                answer(None, str(error))

        if fault:
            answer(None, fault)
        else:
            self._models.after(tell)

    @staticmethod
    def _is_for_one(command: ControlCommand) -> bool:
        return command.verb is not ControlVerb.UNLOAD and not command.everywhere

    def _expected(self, command: ControlCommand) -> int:
        """How many answers there will be: one of each node that obeys, for each version meant."""
        arms = self._service.catalogue.arms(command.target)
        serving = [self._serving("@".join(key)) for key in arms]
        return sum(min(each, 1) for each in serving) if self._is_for_one(command) else sum(serving)

    def _serving(self, model: str) -> int:
        """How many nodes serve it, this one included where it does."""
        node, own = self._lifecycle.node, bool(self._service.catalogue.named(model))
        others = (each for each in self._leases.living() if each.node != node)
        return own + sum(each.health(model) is not None for each in others)


def _cancel(record: ConsumerRecord, principal: str | None) -> Cancel:
    """For whose requests a cancel is, and of which gateway, where its headers say so.

    `principal` is who was proved to give it, None where proofs are not asked for.
    """
    told = {name: value.decode(errors="replace") for name, value in record.headers if value}
    return Cancel(record.timestamp, principal or told.get(PRINCIPAL), told.get(GATEWAY))
