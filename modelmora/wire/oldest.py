"""The released form in which a message is written: the oldest that says all of it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from fastavro import parse_schema
from fastavro.schema import to_parsing_canonical_form

from modelmora.wire.schemas import NAMES, header_of, read_history


@dataclass(frozen=True, slots=True)
class Form:
    """One released schema, and what it cannot say of what the current one can."""

    header: bytes
    schema: Any
    missing: Mapping[str, Any]
    """The fields that it lacks, with what its readers take for them."""
    symbols: Mapping[str, frozenset[str]]
    """Of enums that have grown since, what it knows."""

    def says(self, datum: Mapping[str, Any]) -> bool:
        """Whether its readers understand all of these fields."""
        return all(datum[field] == default for field, default in self.missing.items()) and all(
            datum[field] in known for field, known in self.symbols.items()
        )


def oldest(name: str, datum: Mapping[str, Any]) -> Form:
    """The oldest form that says these fields, so that as many releases as can be read them."""
    return next(form for form in _forms(name) if form.says(datum))


@cache
def is_older(header: bytes, current: bytes) -> str | None:
    """The name of the schema of which one header is an older form of the other, else None."""
    for name in NAMES:
        headers = [header_of(schema) for schema in read_history()[name]]
        if headers[-1] == current and header in headers[:-1]:
            return name
    return None


@cache
def _forms(name: str) -> tuple[Form, ...]:
    """From the oldest on; the last one says everything."""
    *older, current = read_history()[name]
    found = (_form(each, current) for each in (*older, current))
    return tuple(form for form in found if form)


def _form(schema: dict[str, Any], current: dict[str, Any]) -> Form | None:
    """None where it differs in more than fields that came with a default, and enums that grew."""
    own = {field["name"]: field["type"] for field in schema["fields"]}
    missing, symbols = dict[str, Any](), dict[str, frozenset[str]]()
    for field in current["fields"]:
        name, kind = field["name"], field["type"]
        if name not in own:
            missing[name] = _default(field)
        elif _canonical(own[name]) != _canonical(kind):
            if not _has_grown(own[name], kind):
                return None
            symbols[name] = frozenset(own[name]["symbols"])
    if own.keys() - {field["name"] for field in current["fields"]}:
        return None
    return Form(header_of(schema), parse_schema(copy.deepcopy(schema)), missing, symbols)


def _default(field: Mapping[str, Any]) -> Any:
    """What a reader takes; Avro writes bytes as the text of their code points."""
    told = field["default"]
    return told.encode("latin-1") if field["type"] == "bytes" else told


def _canonical(kind: Any) -> str:
    holder = {"type": "record", "name": "holder", "fields": [{"name": "it", "type": kind}]}
    return str(to_parsing_canonical_form(holder))


def _has_grown(before: Any, now: Any) -> bool:
    """Whether both are one enum, of which the later one knows all symbols of the earlier."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return False
    if before["type"] != "enum" or now["type"] != "enum" or before["name"] != now["name"]:
        return False
    return {*before["symbols"]} <= {*now["symbols"]}
