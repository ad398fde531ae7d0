"""What a schema may not contain, so that no value of it can hang or crash its reader.

A recursive type lets 100 kB of bytes overflow the reader's stack; an array of zero-width items
lets 6 bytes ask for a billion of them. Both kill fastavro 1.13, so neither is ever pinned.
"""

from __future__ import annotations

import json
from typing import Any

MAX_DEPTH = 16
MAX_BYTES = 64 * 1024
_ZERO_WIDTH_PRIMITIVES = ("null",)


def lint(schema: Any) -> list[str]:
    """The faults of a schema, each a sentence; empty when it is safe to decode."""
    faults: list[str] = []
    if len(json.dumps(schema)) > MAX_BYTES:
        faults.append(f"the schema is larger than {MAX_BYTES} bytes")
    _walk(schema, (), {}, faults)
    return faults


def _walk(schema: Any, inside: tuple[str, ...], known: dict[str, Any], faults: list[str]) -> None:
    if len(inside) > MAX_DEPTH:
        faults.append(f"types nest deeper than {MAX_DEPTH}")
        return
    match schema:
        case str():
            if schema in inside:
                faults.append(f"{schema} contains itself")
        case list():
            for branch in schema:
                _walk(branch, (*inside, "union"), known, faults)
        case {"type": "record", "name": str(name), "fields": list(fields)}:
            full = _full_name(schema)
            known[name] = known[full] = schema
            for field in fields:
                _walk(field["type"], (*inside, name, full), known, faults)
        case {"type": "array", "items": inner} | {"type": "map", "values": inner}:
            if schema["type"] == "array" and _zero_width(inner, known):
                faults.append("an array has items of zero width")
            _walk(inner, (*inside, schema["type"]), known, faults)
        case {"type": "enum" | "fixed"}:
            known[schema["name"]] = known[_full_name(schema)] = schema
        case {"type": inner}:
            _walk(inner, inside, known, faults)


def _full_name(schema: dict[str, Any]) -> str:
    return f"{schema.get('namespace', '')}.{schema['name']}".lstrip(".")


def _zero_width(schema: Any, known: dict[str, Any]) -> bool:
    match schema:
        case str():
            return schema in _ZERO_WIDTH_PRIMITIVES or (
                schema in known and _zero_width(known[schema], known)
            )
        case {"type": "record", "fields": list(fields)}:
            return all(_zero_width(field["type"], known) for field in fields)
        case {"type": "fixed", "size": size}:
            return bool(size == 0)
        case {"type": "array" | "map" | "enum"} | list():
            return False
        case {"type": inner}:
            return _zero_width(inner, known)
    return False
