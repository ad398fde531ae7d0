"""JSON as it is taken here: what two readers could read apart is refused, in our own words."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import orjson
from pydantic import BaseModel, ValidationError

from modelmora.errors import Code, RequestError
from modelmora.settings.schemas import leaf_of
from modelmora.text import did_you_mean, shorten

SHOWN = 100
_WORDS = {
    "missing": "is missing",
    "extra_forbidden": "is no field here",
    "string_type": "is a string",
    "list_type": "is a list",
    "dict_type": "is an object",
    "model_type": "is an object",
    "tuple_type": "is a list",
    "bool_type": "is true or false",
    "bool_parsing": "is true or false",
    "int_type": "is an integer",
    "int_parsing": "is an integer",
    "int_parsing_size": "is an integer, and no such large one",
    "int_from_float": "is an integer",
    "float_type": "is a number",
    "float_parsing": "is a number",
    "finite_number": "is a finite number",
    "too_short": "has one element at least",
    "too_long": "has {max_length} elements at most",
    "string_too_short": "has {min_length} characters at least",
    "string_too_long": "has {max_length} characters at most",
    "string_pattern_mismatch": "is of the form {pattern}",
    "literal_error": "is one of {expected}",
    "enum": "is one of {expected}",
    "greater_than": "is more than {gt}",
    "greater_than_equal": "is {ge} at least",
    "less_than_equal": "is {le} at most",
    "less_than": "is less than {lt}",
}
_COLON = re.compile(rb'"\s*:')
_LONG = 1 << 63
_PARAMETER = "is null, true or false, a number, a string or a list of strings"


def parse(raw: bytes | bytearray) -> Any:
    """The JSON in a body; raises RequestError where it is none, or two readers could read it apart.

    Read fast first; what that refuses, or may have passed over, is read with care.
    """
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError:
        _read_with_care(raw)
        raise _refused(
            "a number is too large, or a string holds half of a surrogate pair"
        ) from None
    if _names_once(raw, found) and not _lost_digits(found):
        return found
    return _read_with_care(raw)


def _names_once(raw: bytes | bytearray, found: Any) -> bool:
    """Whether no object can have named a member twice.

    So it is when as many members were kept as there are colons behind quotes. Strings may hold
    some more of those, never fewer.
    """
    most, kept, level = len(_COLON.findall(raw)), 0, [found]
    while level and kept < most:
        kept += sum(len(each) for each in level if isinstance(each, dict))
        level = [
            item
            for each in level
            for item in (each.values() if isinstance(each, dict) else each)
            if isinstance(item, dict | list)
        ]
    return kept == most


def _lost_digits(found: Any) -> bool:
    """Whether a parameter may have been an integer that was read as a float."""
    parameters = found.get("parameters") if isinstance(found, dict) else None
    return isinstance(parameters, dict) and any(
        isinstance(value, float) and abs(value) >= _LONG for value in parameters.values()
    )


def _read_with_care(raw: bytes | bytearray) -> Any:
    """What a reader that hears of all members and digits finds; raises RequestError."""
    try:
        return json.loads(raw.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        why = f"it breaks off or goes wrong at line {error.lineno}, column {error.colno}"
    except UnicodeDecodeError:
        why = "it is not UTF-8"
    except RecursionError:
        why = "it is nested too deeply"
    except _Odd as odd:
        why = str(odd)
    except ValueError:
        why = "an integer has too many digits"
    raise _refused(why)


def _refused(why: str) -> RequestError:
    return RequestError(Code.INVALID_INPUT, f"it is not JSON as it is taken here: {why}")


class _Odd(ValueError):
    """What some readers of JSON take and others do not."""


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) != len(members):
        raise _Odd("an object names a member twice")
    return found


def _no_constant(name: str) -> Any:
    raise _Odd(f'{name} is no JSON; in the data of a tensor, "{name}" is')


def fault(error: ValidationError, kind: type[BaseModel]) -> str:
    """The first fault of a body: where it is and what would be right, never the content."""
    first = error.errors(include_url=False, include_input=False)[0]
    why, where = first["type"], first["loc"]
    if why == "value_error":
        words = str(first["ctx"]["error"])
    elif where[:1] == ("parameters",) and len(where) > 2:
        where, words = where[:2], _PARAMETER
    elif why == "string_pattern_mismatch" and (form := _form(kind, where)):
        words = f"is {form}"
    elif why in _WORDS:
        words = _WORDS[why].format(**first.get("ctx", {}))
    else:
        words = first["msg"]
    if why == "extra_forbidden" and len(where) == 1:
        words += did_you_mean(str(where[0]), kind.model_fields)
    path = shorten(".".join(str(part) for part in where) or "the body", SHOWN)
    return f"{path}: {words}"


def _form(kind: type[BaseModel], where: Sequence[str | int]) -> str | None:
    """What says in words the pattern that is asked for there."""
    return leaf_of(kind.model_json_schema(), where).get("form")
