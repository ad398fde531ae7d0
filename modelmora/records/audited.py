"""What a record of the registry is to the audit: in whose words, and what of it."""

from __future__ import annotations

from modelmora.messages import RegistryKind, RegistryRecord
from modelmora.records import canaries


def verb_of(record: RegistryRecord, *, was_there: bool) -> str:
    """What a record of a node's own definitions does."""
    if record.kind is RegistryKind.ROUTE:
        return "route"
    if not record.present:
        return "uninstall"
    return "update" if was_there else "install"


def model_of(record: RegistryRecord) -> str:
    """The model, role or whatever it is of."""
    return f"{record.name}@{record.version}" if record.version else record.name


def reason_of(record: RegistryRecord) -> str | None:
    """What it says: the newest route, the role, budget or task; nothing else of a model."""
    match record.kind:
        case RegistryKind.ROLE | RegistryKind.GRANT | RegistryKind.BUDGET:
            return f"{record.kind.lower()}: {record.details if record.present else 'taken back'}"
        case RegistryKind.CANARY:
            return canaries.reason_of(record)
        case RegistryKind.ROUTE:
            return next(reversed([*record.routes.values()]), None)
    return f"task {record.task}" if record.task else None
