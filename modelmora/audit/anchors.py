"""How far a chain has come, as an event and back: it lies on another topic than the chain."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from modelmora.audit.chain import Head
from modelmora.kafka.events import event_record
from modelmora.kafka.requests import nothing
from modelmora.kafka.writing.publisher import Record, Written
from modelmora.messages import EventKind, LifecycleEvent, Parameter


@dataclass(frozen=True, slots=True)
class Anchor:
    """A head, and where on `audit` its record was appended (offset -1: not known)."""

    head: Head
    partition: int
    offset: int


def anchor_record(head: Head, written: Written, process: str, namespace: str, kind: str) -> Record:
    """The event to write."""
    facts: dict[str, Parameter] = {
        "writer": head.writer,
        "sequence": head.sequence,
        "digest": head.digest,
        "public_key": head.public_key.hex(),
        "signature": head.signature.hex(),
        "partition": written.partition,
        **({"position_offset": written.offset} if written.offset >= 0 else {}),
    }
    now_ms = time.time_ns() // 1_000_000
    event = LifecycleEvent(str(uuid.uuid4()), EventKind.AUDITED, process, now_ms, None, None, facts)
    return event_record(event, namespace, kind, nothing)


def anchor_of(event: LifecycleEvent) -> Anchor | None:
    """What such an event says; None where it is another, or says it in another way."""
    if event.kind is not EventKind.AUDITED:
        return None
    facts = event.facts
    try:
        head = Head(
            str(facts.get("writer")),
            _number(facts, "sequence"),
            str(facts.get("digest")),
            bytes.fromhex(str(facts.get("public_key"))),
            bytes.fromhex(str(facts.get("signature"))),
        )
        offset = _number(facts, "position_offset") if "position_offset" in facts else -1
        return Anchor(head, _number(facts, "partition"), offset)
    except ValueError:
        return None


def _number(facts: Mapping[str, Parameter], name: str) -> int:
    found = facts.get(name)
    if not isinstance(found, int):
        raise ValueError(name)  # noqa: TRY004 - as of text that is no number
    return found
