"""The registry as lines of text that outlive its topic, and what of them is to be written again."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from modelmora import __version__
from modelmora.errors import Invalid, Undecodable
from modelmora.messages import RegistryKind, RegistryRecord
from modelmora.records.state import GONE, Registry, says_the_same
from modelmora.records.telling import key_of, named
from modelmora.text import iso
from modelmora.wire import decode_registry, encode_registry

FORM = 1
"""Of the lines; another one is not read."""
_NOT_OURS = "it is no backup of a registry; `modelmora backup` writes one"


def lines(registry: Registry, namespace: str, now_ms: int) -> Iterator[str]:
    """A line that says what it is, then one for each record that counts, oldest first.

    Leases are left out: they are of nodes that run. Values are in Avro's single-object encoding.
    """
    entries = sorted(registry.entries.values(), key=lambda each: each.offset)
    told = {"registry": FORM, "namespace": namespace, "at": iso(now_ms), "release": __version__}
    yield json.dumps({**told, "records": len(entries)})
    for each in entries:
        value = b64encode(encode_registry(each.record)).decode()
        yield json.dumps({"of": named(each.record), "value": value}, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Backup:
    """What lines tell: the namespace that they are of, when they were written, the records."""

    namespace: str
    at: str
    records: tuple[RegistryRecord, ...]

    @classmethod
    def read(cls, told: Iterable[str]) -> Backup:
        """The backup of these lines. Raises Invalid: they are none, or not whole."""
        rest = iter(told)
        head = _object(next(rest, ""))
        if not head or "registry" not in head:
            raise Invalid(_NOT_OURS)
        if head["registry"] != FORM:
            raise Invalid(f"it is of another form, written by release {head.get('release')}")
        records = tuple(_record(number, line) for number, line in enumerate(rest, 2))
        if len(records) != head.get("records"):
            raise Invalid(f"it has {len(records)} of {head.get('records')} records; it was cut off")
        return cls(str(head.get("namespace")), str(head.get("at")), records)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be written, what is there already, and what is there otherwise."""

    missing: list[RegistryRecord]
    other: list[RegistryRecord]
    """As they are to be written over what is there."""
    same: int


def planned(backup: Backup, registry: Registry, now_ms: int) -> Plan:
    """What has to happen for a registry to tell what a backup does.

    What came into the registry since is left as it is, and so is each measurement.
    """
    missing: list[RegistryRecord] = []
    other: list[RegistryRecord] = []
    for record in backup.records:
        entry = registry.entries.get(key_of(record))
        if entry is None or entry.offset == GONE:
            missing.append(replace(record, based_on=None))
        elif says_the_same(entry.record, record) or record.kind is RegistryKind.MEASURED:
            continue
        else:
            settled = registry.settled(record, now_ms)
            other.append(replace(settled, based_on=entry.offset))
    return Plan(missing, other, len(backup.records) - len(missing) - len(other))


def _record(number: int, line: str) -> RegistryRecord:
    found = _object(line)
    try:
        return decode_registry(b64decode(found["value"], validate=True))
    except (KeyError, TypeError, ValueError, Undecodable):
        raise Invalid(f"line {number} is no record of a registry; take another backup") from None


def _object(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
