"""The schemas as files, their fingerprints, and the history of every one ever released."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from fastavro import parse_schema
from fastavro.schema import (
    SchemaParseException,
    UnknownType,
    fingerprint,
    to_parsing_canonical_form,
)

from modelmora.wire.lint import MAX_BYTES

MAGIC = b"\xc3\x01"
NAMES = (
    "audit_event",
    "batch_record",
    "budget_record",
    "control_command",
    "inference_request",
    "inference_result",
    "job_record",
    "lifecycle_event",
    "metric_sample",
    "progress_event",
    "registry_record",
)
# What text that is no Avro schema makes json and fastavro raise.
_SCHEMA_FAULTS = (
    AttributeError,
    KeyError,
    RecursionError,
    SchemaParseException,
    TypeError,
    UnknownType,
    ValueError,
)


@cache
def read_schema(name: str) -> dict[str, Any]:
    """The schema `schemas/<name>.avsc` as JSON."""
    text = (resources.files("modelmora.schemas") / f"{name}.avsc").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


@cache
def read_history() -> Mapping[str, list[dict[str, Any]]]:
    """Per name every schema ever released, oldest first; the last one is the current file."""
    text = (resources.files("modelmora.schemas") / "history.json").read_text("utf-8")
    history: dict[str, list[dict[str, Any]]] = json.loads(text)
    return history


def header_of(schema: dict[str, Any]) -> bytes:
    """Magic and little-endian CRC-64-AVRO fingerprint.

    Avro 1.12 specification, "Single-object encoding".
    """
    digest = fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO")
    return MAGIC + bytes.fromhex(digest)


@cache
def pinned(name: str) -> Mapping[bytes, Any]:
    """Writer schemas by their 10-byte header; nothing else is ever decoded."""
    return {header_of(schema): parse_schema(schema) for schema in read_history()[name]}


@cache
def _headers() -> Mapping[str, bytes]:
    """The header of every schema ever released, by its canonical form."""
    history = read_history()
    return {
        to_parsing_canonical_form(schema): header_of(schema)
        for name in NAMES
        for schema in history[name]
    }


def pinned_header(text: str | None) -> bytes | None:
    """The header of the pinned schema that this JSON is; None for any other text.

    Equal means equal in Avro's Parsing Canonical Form, which is what a fingerprint stands for.
    """
    if not text or len(text) > MAX_BYTES:
        return None
    try:
        return _headers().get(to_parsing_canonical_form(json.loads(text)))
    except _SCHEMA_FAULTS:
        return None
