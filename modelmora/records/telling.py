"""A model as a record of the registry, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from modelmora.errors import Invalid
from modelmora.messages import RegistryKind, RegistryRecord
from modelmora.settings import ModelConfig, ModelDetails

_NOTHING: Mapping[str, Any] = {}
DETAILS_BYTES = 256 * 1024
"""So that every record of the registry stays far below what a broker takes."""


def key_of(record: RegistryRecord) -> bytes:
    """The key under which the compacted topic keeps the record.

    Of each name there is one ROUTE and one CANARY, of each task one DEFAULT, of each model one
    MEASURED of a node.
    """
    match record.kind:
        case RegistryKind.ROUTE:
            return route_key(record.name)
        case RegistryKind.DEFAULT:
            return default_key(record.task)
        case RegistryKind.MEASURED:
            return f"{record.kind}:{record.name}@{record.version}:{record.writer}".encode()
        case RegistryKind.CANARY:
            return canary_key(record.name)
    return f"{record.kind}:{record.name}@{record.version}".encode()


def named(record: RegistryRecord) -> str:
    """What a record is about, for who reads it."""
    match record.kind:
        case RegistryKind.MODEL | RegistryKind.MEASURED:
            return f"{record.name}@{record.version}"
        case RegistryKind.DEFAULT:
            return f"the default of {record.task}"
    return f"the {record.kind.lower()} of {record.name}"


def role_key(name: str) -> bytes:
    """The key of the record that says what those who have a role may do."""
    return f"{RegistryKind.ROLE}:{name}@".encode()


def grant_key(principal: str) -> bytes:
    """The key of the record that says which roles a principal has."""
    return f"{RegistryKind.GRANT}:{principal}@".encode()


def canary_key(name: str) -> bytes:
    """The key of the record that says how a version takes over a name."""
    return f"{RegistryKind.CANARY}:{name}@".encode()


def model_key(name: str, version: str) -> bytes:
    """The key of a model's record."""
    return f"{RegistryKind.MODEL}:{name}@{version}".encode()


def route_key(name: str) -> bytes:
    """The key of the record that says which version answers for a name."""
    return f"{RegistryKind.ROUTE}:{name}@".encode()


def default_key(task: str) -> bytes:
    """The key of the record that says which model answers for a task."""
    return f"{RegistryKind.DEFAULT}:{task}@".encode()


def record_of(
    model: ModelConfig, writer: str, kept: Mapping[str, Any] = _NOTHING, **more: Any
) -> RegistryRecord:
    """The record that tells a model; `kept` is what only a newer release understands.

    Raises Invalid where that is too long.
    """
    details = details_text(model.details, kept)
    return RegistryRecord(
        RegistryKind.MODEL,
        model.name,
        model.version,
        model.task,
        model.source,
        writer,
        engine=model.engine,
        details=details,
        **more,
    )


def details_text(details: ModelDetails, kept: Mapping[str, Any] = _NOTHING) -> str:
    """The JSON of a record's details; raises Invalid where it is too long."""
    told = {**kept, **details.model_dump(mode="json", exclude_defaults=True)}
    if not told:
        return ""
    text = json.dumps(told, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    size = len(text.encode(errors="replace"))
    if size > DETAILS_BYTES:
        raise Invalid(
            f"what is told of the model is {size} bytes of JSON and {DETAILS_BYTES} are allowed; "
            "shorten its metadata"
        )
    return text


def details_of(record: RegistryRecord) -> ModelDetails:
    """The details in a record; what a newer release wrote and this one does not know is left out.

    A value that cannot be read counts as not told.
    """
    told = _json(record.details)
    told = {name: value for name, value in told.items() if name in ModelDetails.model_fields}
    while True:
        try:
            return ModelDetails.model_validate(told)
        except ValidationError as error:
            wrong = {str(fault["loc"][0]) for fault in error.errors() if fault["loc"]}
            if wrong.isdisjoint(told):  # no one value is at fault, but how they stand together
                return ModelDetails()
            told = {name: value for name, value in told.items() if name not in wrong}


def unknown_details(record: RegistryRecord) -> dict[str, Any]:
    """What a newer release told in the record, to be kept by a write over it."""
    known = ModelDetails.model_fields
    return {name: value for name, value in _json(record.details).items() if name not in known}


def config_of(record: RegistryRecord) -> ModelConfig:
    """The model that a record tells; what was never checked stands as it is."""
    details = details_of(record)
    fields = {name: getattr(details, name) for name in ModelDetails.model_fields}
    return ModelConfig.model_construct(
        name=record.name,
        version=record.version,
        task=record.task,
        source=record.source,
        engine=record.engine,
        active=False,
        **fields,
    )


def _json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
