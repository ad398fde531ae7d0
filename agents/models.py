"""The node's models: read from settings and folder, told on `registry`, handed to the service."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import structlog

from modelmora.agents.lifecycle import Lifecycle, Sender
from modelmora.engines.catalog import EngineEntry, entry_for
from modelmora.engines.files import ModelFiles
from modelmora.errors import ModelMoraError
from modelmora.kafka.sizes import inputs_that_fit
from modelmora.kafka.topics import Topic
from modelmora.kafka.writing.publisher import Record as Outgoing
from modelmora.messages import EventKind, RegistryKind, RegistryRecord
from modelmora.registry.definitions import ModelDefinition, served_or_faults
from modelmora.registry.sources import resolve, weight_bytes
from modelmora.registry.watch import fingerprint
from modelmora.scheduling import ModelSpec
from modelmora.serving import Service
from modelmora.settings import Settings
from modelmora.wire import encode_registry

log = structlog.get_logger(__name__)
Served = tuple[ModelSpec, EngineEntry]


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
        self._seen: object = None
        self._faults: tuple[str, ...] = ()

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

    def refresh(self) -> None:
        """Look at the folder; if it has changed, serve what it says now."""
        seen = fingerprint(self._settings)
        if seen == self._seen:
            return
        self._seen = seen
        found = served_or_faults(self._settings)
        faults = list(found.faults)
        models = list(self._specs(found.definitions, faults))
        if faults != list(self._faults):
            for fault in faults:
                log.error("model not served", reason=fault)
            self._faults = tuple(faults)
        self._service.serve([served for served, _ in models])
        self._tell(models)

    def _specs(
        self, definitions: tuple[ModelDefinition, ...], faults: list[str]
    ) -> Iterator[tuple[Served, ModelDefinition]]:
        for each in definitions:
            entry = entry_for(each.task, testing=self._settings.testing)
            if entry is None:
                faults.append(f"{each.name}: no engine serves task {each.task}")
                continue
            try:
                path = resolve(each.source)
                files = self._read(each, entry, path)
            except (ModelMoraError, OSError) as error:
                faults.append(f"{each.name}: {error}")
                continue
            spec = ModelSpec(
                each.name,
                each.version,
                each.task,
                each.engine or entry.engine,
                str(path),
                files.weight_bytes,
                entry.needs_cores,
                max_inputs=inputs_that_fit(files.row_bytes) if files.row_bytes else None,
            )
            yield (spec, entry), each

    @staticmethod
    def _read(definition: ModelDefinition, entry: EngineEntry, path: Path) -> ModelFiles:
        if entry.read and not definition.engine:
            return entry.read(path)
        return ModelFiles(weight_bytes(path))

    def _tell(self, models: list[tuple[Served, ModelDefinition]]) -> None:
        """Write what is new or changed, and that what we once wrote is gone."""
        served: dict[bytes, RegistryRecord] = {}
        for (spec, _), each in models:
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
            known = self._told.get(key)
            if known and replace(known[0], writer=self._writer, based_on=None) == record:
                continue
            names = {told.name for told, _ in self._told.values() if told.present}
            self._write(key, record)
            kind = EventKind.VERSION_ADDED if record.name in names else EventKind.REGISTERED
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
