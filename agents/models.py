"""The node's models: read from settings and folder, told on `registry`, handed to the service."""

from __future__ import annotations

from dataclasses import replace

import structlog

from modelmora.agents.lifecycle import Lifecycle, Sender
from modelmora.errors import Code
from modelmora.kafka.sizes import inputs_that_fit
from modelmora.kafka.topics import Topic
from modelmora.kafka.writing.publisher import Record as Outgoing
from modelmora.messages import EventKind, RegistryKind, RegistryRecord
from modelmora.registry.definitions import ModelDefinition, Served, served_or_faults
from modelmora.registry.look import Looked, Looker
from modelmora.registry.watch import fingerprint
from modelmora.scheduling import ModelKey, ModelSpec
from modelmora.serving import Service
from modelmora.settings import Settings
from modelmora.wire import encode_registry

log = structlog.get_logger(__name__)


def registry_key(record: RegistryRecord) -> bytes:
    """The key under which the compacted topic keeps the record."""
    return f"{record.kind}:{record.name}@{record.version}".encode()


class Models:
    """What this node serves; `refresh` makes folder, service and `registry` agree."""

    def __init__(
        self,
        settings: Settings,
        service: Service,
        sender: Sender,
        lifecycle: Lifecycle,
        writer: str,
    ) -> None:
        self._settings = settings
        self._service = service
        self._sender = sender
        self._lifecycle = lifecycle
        self._writer = writer
        self._topic = Topic.REGISTRY.full(settings.namespace)
        self._told: dict[bytes, tuple[RegistryRecord, int | None]] = {}
        self._served: frozenset[bytes] = frozenset()
        self._looker = Looker(testing=settings.testing)
        self._found = Served(())
        self._definitions_seen: object = None
        self._seen: object = None
        self._failed: dict[ModelKey, str] = {}
        self.unreadable: tuple[str, ...] = ()
        """What hides definitions, in a line each."""

    def heard(self, record: RegistryRecord, offset: int) -> None:
        """A record of the registry, ours or another node's, at its offset."""
        key = registry_key(record)
        self._told[key] = (record, offset)
        if not record.present and key in self._served:
            self._seen = None  # whoever had told it serves it no more, we do

    def tell_anew(self) -> None:
        """The registry is another and holds nothing of what was told."""
        self._told.clear()
        self._seen = None

    def look(self) -> tuple[tuple[Looked, ...], tuple[str, ...]]:
        """What there is to serve, and what cannot even be named; may be called in a thread."""
        seen = fingerprint(self._settings)
        if seen != self._definitions_seen:
            self._found = served_or_faults(self._settings)
            self._definitions_seen = seen
        return self._looker.look(self._found.definitions), self._found.faults

    def take(self, looked: tuple[tuple[Looked, ...], tuple[str, ...]]) -> None:
        """Make service and `registry` agree with what was looked at."""
        if looked == self._seen:
            return
        self._seen = looked
        models, unreadable = looked
        for fault in set(unreadable) - set(self.unreadable):
            log.error("model not served", reason=fault)
        self.unreadable = unreadable
        served = [(_spec(each), each.entry) for each in models]
        self._tell_failed(models)
        self._service.serve(served)
        self._tell(
            [(spec, each.definition) for (spec, _), each in zip(served, models, strict=True)]
        )

    def _tell_failed(self, models: tuple[Looked, ...]) -> None:
        """Tell of models whose files are broken, each fault once."""
        failed = {each.definition.key: each.fault for each in models if each.fault}
        for key, fault in failed.items():
            if fault != self._failed.get(key):
                facts = {"code": Code.CANNOT_BE_SERVED.value, "message": fault}
                self._lifecycle.event(EventKind.LOAD_FAILED, key, facts)
        self._failed = failed

    def _tell(self, models: list[tuple[ModelSpec, ModelDefinition]]) -> None:
        """Write what is new or changed, and that what we once wrote is gone."""
        served: dict[bytes, RegistryRecord] = {}
        for spec, each in models:
            if each.fault:  # it says nothing that could be told
                continue
            record = RegistryRecord(
                RegistryKind.MODEL,
                each.name,
                each.version,
                each.task,
                each.source,
                self._writer,
                engine=each.engine,
                max_inputs=spec.max_inputs,
            )
            served[registry_key(record)] = record
        self._served = frozenset(served)
        for key, record in served.items():
            known, _ = self._told.get(key, (None, None))
            if known and replace(known, writer=self._writer, based_on=None) == record:
                continue
            names = {told.name for told, _ in self._told.values() if told.present}
            is_new = not (known and known.present)
            self._write(key, record)
            added = is_new and record.name in names
            kind = EventKind.VERSION_ADDED if added else EventKind.REGISTERED
            self._lifecycle.event(kind, (record.name, record.version), {"task": record.task})
        for key, (told, _) in [*self._told.items()]:
            if key not in served and told.present and told.writer == self._writer:
                self._write(key, replace(told, present=False))
                self._lifecycle.event(EventKind.UNREGISTERED, (told.name, told.version))

    def _write(self, key: bytes, record: RegistryRecord) -> None:
        _, offset = self._told.get(key, (None, None))
        written = replace(record, based_on=offset)
        value = encode_registry(written)
        self._sender.send(Outgoing(self._topic, key, value, lambda _: None, (), 0))
        self._told[key] = (written, offset)


def _spec(looked: Looked) -> ModelSpec:
    definition, files = looked.definition, looked.files
    return ModelSpec(
        definition.name,
        definition.version,
        definition.task,
        definition.engine or files.engine or looked.entry.engine,
        looked.path,
        files.weight_bytes,
        looked.entry.needs_cores,
        max_inputs=inputs_that_fit(files.row_bytes) if files.row_bytes else None,
        files=looked.state,
        fault=looked.fault,
        default=definition.default,
    )
