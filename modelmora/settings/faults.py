"""What is wrong with settings, one line each: where, what was given, what is allowed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from modelmora.settings.fields import Settings
from modelmora.settings.schemas import KEY, allowed, leaf_of
from modelmora.settings.sources import Path_, Source, is_secret, setting_paths, variable_of
from modelmora.text import did_you_mean, printable, shorten

SHOWN = 60


def faults_of(error: ValidationError, sources: Sequence[Source]) -> Iterator[str]:
    """Each fault as a line for people; `sources` from the lowest to the highest."""
    schema = Settings.model_json_schema()
    for fault in error.errors(include_url=False):
        path: Path_ = fault["loc"]
        place = place_of(path, sources)
        named = place.startswith("--") or place.upper() == variable_of(tuple(map(str, path)))
        subject = place if named else f"{place}: {dotted(path)}"
        match fault["type"]:
            case "extra_forbidden":
                known = _properties(schema, path[:-1])
                near = _near(str(path[-1]), known)
                yield f"{place}: {printable(dotted(path))} is no setting{near}"
            case "missing":
                yield f"{place}: {dotted(path[:-1])} lacks `{path[-1]}`"
            case "value_error":
                yield f"{subject}: {fault['ctx']['error']}"
            case _:
                leaf = leaf_of(schema, path)
                given = "********" if leaf.get("writeOnly") else _given(fault["input"], leaf)
                # YAML reads `version: 2` as a number, which looks like what is asked for.
                number = leaf.get("type") == "string" and isinstance(fault["input"], int | float)
                quotes = ", in quotes" if number else ""
                yield f"{subject} is {given}; it must be {allowed(leaf, schema)}{quotes}"


def misplaced_secrets(sources: Sequence[Source]) -> Iterator[str]:
    """Each secret that stands where others read along: files of settings are copied and shown."""
    known = dict(setting_paths())
    for path, kind in known.items():
        for source in sources if is_secret(kind) else ():
            place = source.places.get(path)
            if place and not source.takes_secrets and _value_at(source.values, path) is not None:
                beside = (*path[:-1], f"{path[-1]}_file")
                file = f", or in a file named by {dotted(beside)}" if beside in known else ""
                told = f"{dotted(path)} is a secret; give it as {variable_of(path)}{file}"
                yield f"{place}: {told}"


def _value_at(values: Any, path: Path_) -> Any:
    for name in path:
        values = values.get(name) if isinstance(values, dict) else None
    return values


def dotted(path: Path_) -> str:
    """`models[0].name`; of a key that cannot stand there its own place."""
    path = path[:-1] if path and path[-1] == KEY else path
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)[1:]


def _near(name: str, known: Mapping[str, Any]) -> str:
    return did_you_mean(name, known) or f"; there are {', '.join(known)}"


def place_of(path: Path_, sources: Sequence[Source]) -> str:
    """How the fault's place is found: the longest known part of its path, highest source first."""
    for length in range(len(path), 0, -1):
        for source in reversed(sources):
            if place := source.places.get(path[:length]):
                return place
    return ""


def _given(value: Any, leaf: Mapping[str, Any]) -> str:
    """What stands there; in the place of a section it may be a secret of it."""
    if "properties" not in leaf or isinstance(value, int | float):
        return _shown(value)
    return "a list" if isinstance(value, list) else "text"


def _shown(value: Any) -> str:
    return shorten(printable(json.dumps(value, ensure_ascii=False, default=str)), SHOWN)


def _properties(root: Mapping[str, Any], path: Path_) -> Mapping[str, Any]:
    found: Mapping[str, Any] = leaf_of(root, path).get("properties", {})
    return found
