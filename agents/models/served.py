"""The node's models: its own and those of the registry, looked at, served, and told."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import structlog

from modelmora.agents.lifecycle import Lifecycle, Sender
from modelmora.agents.models.declaring import Declaring, FilesTell
from modelmora.agents.models.following import newcomers
from modelmora.agents.models.measuring import Measuring
from modelmora.agents.models.warming import is_in_use
from modelmora.audit.auditor import Tell, untold
from modelmora.engines.base import LoadError
from modelmora.engines.entries import EngineEntry, class_of, first_request, slots_of
from modelmora.errors import Code, NotFound
from modelmora.kafka.sizes import MOST_INLINE, OUTPUT_BYTES, inputs_that_fit
from modelmora.messages import EventKind, RegistryRecord
from modelmora.records import Entry, Registry, model_key
from modelmora.records.facts import text_of
from modelmora.registry.definitions import (
    ModelDefinition,
    Served,
    definition_of,
    retold,
    served_or_faults,
    tells_another,
)
from modelmora.registry.look import Looked, Looker
from modelmora.registry.watch import fingerprint
from modelmora.routing import Steps
from modelmora.scheduling import ModelKey, ModelSpec, Need
from modelmora.serving import Service
from modelmora.settings import MIB, Needs, Settings
from modelmora.text import did_you_mean
from modelmora.wire import encode_request

log = structlog.get_logger(__name__)


class Models:
    """What this node serves; `look` and `take` make folder, service and `registry` agree.

    Its own models are those of its settings and folder: it tells them, and they say where the
    files lie here. It serves those and every other registered one whose source is here too.
    """

    def __init__(
        self,
        settings: Settings,
        service: Service,
        sender: Sender,
        lifecycle: Lifecycle,
        writer: str,
        audit: Tell = untold,
    ) -> None:
        self._settings = settings
        self._service = service
        self._lifecycle = lifecycle
        self._writer = writer
        self._looker = Looker(settings)
        self._found = Served(())
        self._definitions_seen: object = None
        self._files: dict[str, tuple[str, int, int, int]] = {}
        self._renewed: set[ModelKey] = set()
        self._seen: object = None
        self._drifted: dict[ModelKey, str] = {}
        self._read: dict[bytes, tuple[Entry, ModelDefinition]] = {}
        self._after_next: list[Callable[[], None]] = []
        self._after: list[Callable[[], None]] = []
        self._followed: Mapping[str, Steps] = {}
        self.state = Registry()
        """The registry as far as it was read."""
        self.declaring = Declaring(self.state, sender, lifecycle, settings.namespace, writer, audit)
        self.measuring = Measuring(self.state, sender, settings.namespace, settings.member_id or "")
        self.unreadable: tuple[str, ...] = ()
        """What hides definitions, in a line each."""
        self.lacking: dict[str, str] = {}
        """Why a registered model is not served here, by name@version."""

    def heard(
        self, key: bytes, record: RegistryRecord | None, offset: int, at_ms: int | None = None
    ) -> None:
        """A record of the registry under its key, ours or another's, None for one without value.

        `at_ms` is when it was appended (Unix ms).
        """
        if self.state.take(key, record, offset, at_ms):
            self._seen = None
        self.declaring.heard(key, record)

    def after(self, then: Callable[[], None]) -> None:
        """Call this once all that was read until now is served so."""
        self._after_next.append(then)

    def tell_anew(self) -> None:
        """The registry is another and holds nothing of what was told."""
        self.state.anew()
        self.declaring.forget()
        self._seen = None

    def look(self) -> tuple[tuple[Looked, ...], tuple[str, ...]]:
        """What there is to serve, and what cannot even be named; may be called in a thread."""
        self._after += self._after_next[: (known := len(self._after_next))]
        del self._after_next[:known]
        seen = fingerprint(self._settings)
        if seen != self._definitions_seen:
            self._found = served_or_faults(self._settings)
            files = {each[0]: each for each in seen}
            self._renewed |= {
                (path.parent.name, path.stem)
                for name, each in files.items()
                if self._files.get(name, each) != each
                for path in (Path(name),)
            }
            self._files = files
            self._definitions_seen = seen
        return self._looker.look(self._wanted()), self._found.faults

    def _wanted(self) -> tuple[ModelDefinition, ...]:
        """Own and registered definitions; what the registry says of an own one counts.

        But for what says where it lies here, and how it is run from there. An own one that a
        caller has retired is not wanted until it is declared anew; one in whose place a caller has
        registered another is that other, wherever its files are.
        """
        entries = dict(self.state.entries)  # at once, for records go on coming
        wanted = {each.key: each for each in self._found.definitions}
        for key, entry in entries.items():
            record = entry.record
            if record.kind != "MODEL":
                continue
            own = wanted.get(record.key)
            if own is None:
                if record.present:
                    wanted[record.key] = self._definition(key, entry)
            elif record.writer != self._writer and tells_another(record, own):
                wanted[own.key] = self._definition(key, entry)
            elif not own.fault and record.declaration == own.digest:
                if record.present:
                    told = self._definition(key, entry)
                    wanted[own.key] = retold(own, told.details)
                else:
                    del wanted[own.key]
        return tuple(wanted[key] for key in sorted(wanted))

    def _definition(self, key: bytes, entry: Entry) -> ModelDefinition:
        known = self._read.get(key)
        if known is None or known[0] is not entry:
            known = self._read[key] = entry, definition_of(entry.record)
        return known[1]

    def take(self, looked: tuple[tuple[Looked, ...], tuple[str, ...]]) -> None:
        """Make service and `registry` agree with what was looked at."""
        mends = self.state.buried and self.declaring.mends()
        if looked != self._seen or self._renewed or mends:
            self._seen = looked
            self._serve(*looked)
        after, self._after = self._after, []
        for then in after:
            then()
        self.measured()

    def _serve(self, models: tuple[Looked, ...], unreadable: tuple[str, ...]) -> None:
        for fault in set(unreadable) - set(self.unreadable):
            log.error("model not served", reason=fault)
        self.unreadable = unreadable
        own = {each.key: each for each in self._found.definitions}
        here = [each for each in models if each.definition.key in own or _is_here(each)]
        self.lacking = {
            "@".join(each.definition.key): each.fault or ""
            for each in models
            if each.definition.key not in own and not _is_here(each)
        }
        self._tell_drifted(here)
        here = [_explained(each, own.get(each.definition.key)) for each in here]
        served = [(self._known(_spec(each, self._settings)), _entry(each)) for each in here]
        self._service.serve(served, self.state.routes, self.state.defaults(), self.lacking)
        self._follow(self.state.routes())
        self._renewed = self.declaring.tell(
            [each for each in self._found.definitions if not each.fault],
            {
                model_key(*spec.key): FilesTell(spec.max_inputs, text_of(each.files.facts))
                for each, (spec, _) in zip(here, served, strict=True)
                if not spec.fault
            },
            own=None if unreadable else {model_key(*key) for key in own},
            renewed=self._renewed,
        )

    def _follow(self, routes: Mapping[str, Steps]) -> None:
        """Load what is about to answer for a name that is in use here."""
        used = {each.key[0] for each in self._service.status() if is_in_use(each)}
        for key in newcomers(self._followed, routes, used):
            with suppress(NotFound):
                self._service.load(key, ahead=True)
        self._followed = routes

    def measured(self, *, last: bool = False) -> None:
        """Tell what was learned; `last`: all of it."""
        declaring, living = self.declaring, None
        if declaring.mends():
            living = {each.node for each in declaring.leases.living()}
        self.measuring.tell(self._service.measured(), living, last=last)

    def _known(self, spec: ModelSpec) -> ModelSpec:
        """With what was measured of it before."""
        mark = _mark(spec)
        return replace(spec, mark=mark, known=self.measuring.known(spec.key, mark))

    def _tell_drifted(self, models: list[Looked]) -> None:
        """Tell once of each model that goes on as it is loaded, since its files are others now."""
        drifted = {each.definition.key: each.drift for each in models if each.drift}
        for key, fault in drifted.items():
            if fault != self._drifted.get(key):
                facts = {"code": Code.CANNOT_BE_SERVED.value, "message": fault}
                self._lifecycle.event(EventKind.LOAD_FAILED, key, facts)
        self._drifted = drifted


def _is_here(looked: Looked) -> bool:
    """Whether there is anything to serve the model from, be it broken."""
    return bool(looked.path) or looked.fault is None


def _explained(looked: Looked, own: ModelDefinition | None) -> Looked:
    """A model that cannot be served since it is registered from elsewhere than this node has it.

    Where the files of the other source are here too, it is served from those.
    """
    source = looked.definition.source
    if own is None or not looked.fault or own.source == source:
        return looked
    why = f"it is registered from {source}, and this node has it from {own.source}"
    return replace(looked, fault=f"{why}: {looked.fault}")


def _entry(looked: Looked) -> EngineEntry:
    """The engine's entry, with what the model's files need imported beside it.

    Nothing for a model with a runtime: its children are not forked.
    """
    entry = looked.entry
    if looked.definition.details.runtime:
        return replace(entry, modules=())
    return replace(entry, modules=(*entry.modules, *looked.files.modules))


def _spec(looked: Looked, settings: Settings) -> ModelSpec:
    definition, files = looked.definition, looked.files
    details = definition.details
    engine = class_of(looked.entry, definition.engine, files)
    most = OUTPUT_BYTES if settings.keeps_objects else MOST_INLINE
    first = first_request(looked.entry, definition.name, details.warm_up, engine, files)
    fault = looked.fault or _unknown_runtime(details.runtime, settings.runtimes)
    options, slots = details.options, None
    try:
        if (slots := slots_of(looked.entry, options)) is not None:
            options = {**options, "slots": slots}  # what the engine takes is what it is sent
    except LoadError as error:
        fault = fault or error.message
    return ModelSpec(
        definition.name,
        definition.version,
        definition.task,
        engine,
        looked.path,
        files.weight_bytes + files.cache_bytes,
        looked.entry.needs_cores,
        options=options,
        max_inputs=inputs_that_fit(files.row_bytes, most) if files.row_bytes else None,
        slots=slots,
        files=looked.state,
        unchanged=looked.state if settings.locked else (),
        fault=fault,
        adapter=looked.adapter or None,
        runtime=details.runtime,
        devices=files.devices or looked.entry.devices,
        declared=_declared(details.needs),
        min_replicas=details.replicas.min,
        max_replicas=details.replicas.max,
        keep_alive_s=details.keep_alive,
        pinned=details.pinned,
        preload=details.preload,
        warm_up=encode_request(first) if first else None,
    )


def _mark(spec: ModelSpec) -> str:
    """What was measured under one mark tells nothing of a model with another."""
    run = (spec.engine, spec.model_bytes, spec.runtime, sorted(spec.options.items()))
    return hashlib.sha256(repr(run).encode(errors="replace")).hexdigest()[:16]


def _unknown_runtime(name: str | None, known: Collection[str]) -> str | None:
    """What is wrong with the environment that a model is to run in."""
    if name is None or name in known:
        return None
    names = ", ".join(sorted(known)) or "there are none"
    what = f"its runtime `{name}` is none of this node's `runtimes` ({names})"
    return what + did_you_mean(name, known)


def _declared(needs: Needs) -> Need | None:
    """What the definition says of a replica's memory."""
    if needs.memory_mb is None and needs.gpu_vram_mb is None:
        return None
    return Need((needs.memory_mb or 0) * MIB, (needs.gpu_vram_mb or 0) * MIB)
