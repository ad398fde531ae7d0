"""A node's own definitions told on `registry`: declared, withdrawn, and read back."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import structlog

from modelmora.agents.lifecycle import Lifecycle, Sender
from modelmora.audit.auditor import Tell, untold
from modelmora.errors import ModelMoraError
from modelmora.kafka.leases import Leases
from modelmora.kafka.topics import Topic
from modelmora.kafka.writing.publisher import Answer, TooLarge
from modelmora.kafka.writing.publisher import Record as Outgoing
from modelmora.messages import EventKind, RegistryKind, RegistryRecord
from modelmora.records import (
    GONE,
    Registry,
    model_key,
    record_of,
    route_key,
)
from modelmora.records.audited import model_of, reason_of, verb_of
from modelmora.records.routes import route_facts
from modelmora.records.verbs import routed, update
from modelmora.registry.definitions import WISH, ModelDefinition, tells_another
from modelmora.routing import alone, routes, wished
from modelmora.wire import encode_registry

log = structlog.get_logger(__name__)
MOST_HELD = 100
"""Changes of one model that wait for those before them."""
Then = Callable[[str | None], None]
"""Told once a change was read back: None, or why it does not count."""


@dataclass(frozen=True, slots=True)
class FilesTell:
    """What a model's files tell: how many inputs a result holds, and facts as a record has them."""

    max_inputs: int | None = None
    facts: str = ""

    def over(self, record: RegistryRecord, *, ours: bool) -> RegistryRecord:
        """The record with that, where it is `ours` or lacks it.

        Nodes whose files differ must not correct each other for ever.
        """
        limit, facts = record.max_inputs, record.file_facts
        if self.max_inputs is not None and (ours or limit is None):
            limit = self.max_inputs
        if self.facts and (ours or not facts):
            facts = self.facts
        return replace(record, max_inputs=limit, file_facts=facts)


class Declaring:
    """Writes what the registry lacks of this node's definitions, one record of a key at a time.

    A definition is declared when it is new to the registry or is another than was declared. What
    others say of the model after that counts, until the definition changes.
    """

    def __init__(
        self,
        state: Registry,
        sender: Sender,
        lifecycle: Lifecycle,
        namespace: str,
        writer: str,
        audit: Tell = untold,
    ) -> None:
        self._audit = audit
        self._state = state
        self._sender = sender
        self._lifecycle = lifecycle
        self._topic = Topic.REGISTRY.full(namespace)
        self._writer = writer
        self._declared: dict[bytes, str] = {}
        self._wishes: dict[str, str] = {}
        self.leases = Leases()
        """Of all nodes, kept by their reader."""
        self._active: dict[str, str] = {}
        self._under_way: dict[bytes, tuple[RegistryRecord, RegistryRecord | None]] = {}
        """What was written and not read back yet, and what counted before."""
        self._then: dict[bytes, Then] = {}
        self._held: defaultdict[bytes, deque[tuple[Callable[[], None], Then]]] = defaultdict(deque)

    def mends(self) -> bool:
        """Whether it is this node that writes anew what is buried: one of all does, the first."""
        return min((each.node for each in self.leases.living()), default="") == self._writer

    def forget(self) -> None:
        """The log is another: nothing was declared there, nothing is under way."""
        self._declared.clear()
        self._under_way.clear()
        for key in {*self._then, *self._held}:
            self._answer(key, "the registry was made anew; try again")

    def heard(self, key: bytes, record: RegistryRecord | None) -> None:
        """A record was read, and judged by the state."""
        sent, before = self._under_way.get(key, (None, None))
        if sent is None or record is None:
            return
        counts = self._state.entries.get(key)
        if record == sent or (counts and counts.record != before):
            del self._under_way[key]  # ours is decided: it counts, or another came before it
            won = counts is not None and counts.record == sent
            self._answer(key, None if won else "another has changed it at the same time; try again")
        if counts and counts.record == sent:
            self._announce(sent, before)

    def tell(
        self,
        definitions: Iterable[ModelDefinition],
        told: Mapping[bytes, FilesTell],
        own: Set[bytes] | None,
        renewed: Set[tuple[str, str]] = frozenset(),
    ) -> set[tuple[str, str]]:
        """Write what is to be said of these definitions, of others' models, and what is gone.

        `told` is what the files of each model that is served here tell, by the key of its record;
        `own` the keys of all own models, the broken ones too, None while nobody can
        say which those are; `renewed` are those whose definition was put there again; returned are
        those of them that wait until what is under way has been read back.
        """
        waiting = {each for each in renewed if model_key(*each) in self._under_way}
        definitions = [*definitions]
        self._active = self._state.active({each.key for each in definitions})
        self._wishes |= wished([each for each in definitions if self._declare(each, told, renewed)])
        for name, (_, version) in routes(definitions).names.items():
            self._route(name, version)
        for key, entry in [*self._state.entries.items()]:
            record = entry.record
            if entry.offset == GONE or (entry.buried and self.mends()):
                self._write(key, record)
            elif own is not None and key not in own and record.declaration is not None:
                self._declared.pop(key, None)
                if record.writer == self._writer:
                    self._write(key, replace(record, present=False, declaration=None))
            elif record.present and key in told:
                own_word = told[key].over(record, ours=record.writer == self._writer)
                if own_word != record:
                    self._write(key, own_word)
        return waiting

    def change(self, name: str, version: str, then: Then, **details: Any) -> None:
        """Say something else of a registered model than was declared, for all nodes.

        `then` is told once that was read back, and so counts or does not; changes of one model are
        made one after another. Raises ModelMoraError while the registry has the model not.
        """
        key, entry = model_key(name, version), self._state.model(name, version)
        if entry is None or not entry.record.present:
            raise ModelMoraError(f"{name}@{version} is just being registered; try again")
        change = partial(self._change, (name, version), details, then)
        if key not in self._under_way:
            change()
        elif len(self._held[key]) < MOST_HELD:
            self._held[key].append((change, then))
        else:
            raise ModelMoraError(f"{MOST_HELD} changes of {name}@{version} wait; try again later")

    def _change(self, model: tuple[str, str], details: Mapping[str, Any], then: Then) -> None:
        changed = update(self._state, *model, details)
        if changed is None:
            then(None)
            return
        key = model_key(*model)
        self._then[key] = then
        self._write(key, changed)

    def _answer(self, key: bytes, fault: str | None) -> None:
        """Tell what came of the change under way, and begin the next of its model."""
        if then := self._then.pop(key, None):
            then(fault)
        waiting = self._held.pop(key, deque())
        while waiting and key not in self._under_way:
            change, then = waiting.popleft()
            try:
                change()
            except ModelMoraError as error:
                then(str(error))
        if waiting:
            self._held[key] = waiting

    def _declare(
        self,
        definition: ModelDefinition,
        files: Mapping[bytes, FilesTell],
        renewed: Set[tuple[str, str]],
    ) -> bool:
        """Tell a definition where that is to be done.

        (1) A caller has registered another under its name and version: that counts, until it is
            installed again.
        (2) It was told, by us or another: what was said of the model after that counts.
        (3) It was told and a caller has retired the model: so it is, likewise.
        (4) It is new, or changed, or whoever had told it has withdrawn it.

        True where that brings a wish to be the active version that was not there before.
        """
        mark = definition.digest
        key = model_key(*definition.key)
        entry = self._state.entries.get(key)
        told = entry.record if entry and entry.offset != GONE else None
        again = definition.key in renewed
        # (1)
        if told and told.declaration is None and tells_another(told, definition):
            if not again:
                return False
        # (2)
        elif told and told.present and mark in (told.declaration, self._declared.get(key)):
            self._declared[key] = mark
            return False
        # (3)
        elif told and told.declaration == mark and not again:
            return False
        # (4)
        if key in self._under_way:
            return False
        self._declared[key] = mark
        made = record_of(definition.config, self._writer, declaration=mark)
        self._write(key, files.get(key, FilesTell()).over(made, ours=True))
        return told is None or not (told.declaration or "").endswith(WISH)

    def _route(self, name: str, lowest: str) -> None:
        """Let the version that wishes so answer for the name, or the lowest where none does."""
        key, active = route_key(name), self._active.get(name)
        if key in self._under_way or not (name in self._wishes or active is None):
            return
        version = self._wishes.pop(name, lowest)
        if version != active:
            self._write(key, routed(self._state, name, alone(version), self._writer))

    def _write(self, key: bytes, record: RegistryRecord) -> None:
        """Write over what counts now, once what is under way has been read back."""
        if key in self._under_way:
            return
        entry = self._state.entries.get(key)
        based_on = None if entry is None or entry.offset == GONE else entry.offset
        now_ms = time.time_ns() // 1_000_000
        written = replace(self._state.settled(record, now_ms), based_on=based_on)
        self._under_way[key] = written, entry.record if entry else None

        def answered(answer: Answer) -> None:
            if isinstance(answer, TooLarge):
                self._under_way.pop(key, None)  # a smaller one may follow
                log.error("the registry takes no record of this size", record=key.decode())
                self._answer(key, "the registry takes no record of this size")

        self._sender.send(Outgoing(self._topic, key, encode_registry(written), answered, (), 0))

    def _announce(self, record: RegistryRecord, before: RegistryRecord | None) -> None:
        """Tell what a record of ours that counts has changed."""
        key = (record.name, record.version)
        was_there = before is not None and before.present
        verb, reason = verb_of(record, was_there=was_there), reason_of(record)
        self._audit(verb, self._writer, model=model_of(record), reason=reason)
        if record.kind is RegistryKind.ROUTE:
            if facts := route_facts(record, before):
                self._lifecycle.event(EventKind.ROUTE_CHANGED, key, facts)
        elif record.present and not was_there:
            others = {each.version for each in self._state.models() if each.name == record.name}
            added = others != {record.version}
            kind = EventKind.VERSION_ADDED if added else EventKind.REGISTERED
            self._lifecycle.event(kind, key, {"task": record.task})
        elif was_there and not record.present:
            self._lifecycle.event(EventKind.UNREGISTERED, key)
