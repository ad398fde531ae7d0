"""What a JSON Schema takes at a place, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

KEY = "[key]"
"""What pydantic's places end with where a mapping's key is at fault."""
_NOTHING: Mapping[str, Any] = {}
_KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "string": "text",
    "array": "a list",
    "object": "a mapping",
}


def allowed(schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    """What a JSON Schema takes, in words."""
    schema = _resolved(schema, root)
    if form := schema.get("form"):
        return str(form)
    if choices := schema.get("enum"):
        return f"one of {', '.join(map(str, choices))}"
    if schema.get("format") in ("path", "file-path"):
        return "a path"
    words = _KINDS.get(schema.get("type", ""), "something else")
    low, above, high = (schema.get(k) for k in ("minimum", "exclusiveMinimum", "maximum"))
    if low is not None:
        return f"{words} from {low:g} to {high:.0f}" if high else f"{words} of at least {low:g}"
    if above is not None:
        return f"{words} above {above:g}" + (f", up to {high:.0f}" if high else "")
    return words


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema itself, behind references and beside null."""
    if name := schema.get("$ref"):
        return _resolved(root["$defs"][name.rpartition("/")[2]], root)
    if options := schema.get("anyOf"):
        return _resolved(next(one for one in options if one.get("type") != "null"), root)
    return schema


def leaf_of(root: Mapping[str, Any], path: Sequence[str | int]) -> Mapping[str, Any]:
    """What the schema has for the place that pydantic names; empty where that is not found."""
    schema, keys = root, _NOTHING
    for part in path:
        schema = _resolved(schema, root)
        if part == KEY:
            return _resolved(keys, root)
        below = schema.get("properties", {}).get(part)
        keys = schema.get("propertyNames", {})
        schema = _below(schema) if below is None else below
    return _resolved(schema, root)


def _below(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of what the members of a list, or the values of a mapping with free keys, must be."""
    by_pattern = [*schema.get("patternProperties", {}).values()]
    found = schema.get("items") or schema.get("additionalProperties") or (by_pattern or [{}])[0]
    return found if isinstance(found, Mapping) else {}
