"""The schema files beside the code, and beside every schema that was ever released."""

from __future__ import annotations

import copy
import json
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from io import BytesIO
from typing import Any

import avro.compatibility
import avro.schema
import pytest
from fastavro import parse_schema, schemaless_reader, schemaless_writer

from modelmora import messages, wire
from modelmora.messages import InferenceRequest
from modelmora.wire import codec
from modelmora.wire.schemas import NAMES, header_of, pinned, read_history, read_schema
from tests.unit.wire.pairs import PAIRS

RECORDS: dict[str, type[Any]] = {
    **{
        name: getattr(messages, name)
        for name in ("ChatMessage", "ObjectRef", "Source", "Tensor", "Timings", "ToolCall")
    },
    **{pair.message.__name__: pair.message for pair in PAIRS},
    "Error": messages.ErrorInfo,
}
ENUM_NAMES = (
    "BatchKind", "ControlVerb", "Decision", "EventKind", "ProgressStage", "RegistryKind", "Status",
)  # fmt: skip
ENUMS: dict[str, type[StrEnum]] = {name: getattr(messages, name) for name in ENUM_NAMES}


def _named(schema: Any) -> list[dict[str, Any]]:
    """Every record and enum inside a schema."""
    if isinstance(schema, list):
        return [found for branch in schema for found in _named(branch)]
    if not isinstance(schema, dict):
        return []
    own = [schema] if schema["type"] in ("record", "enum") else []
    inner = [schema.get("items"), schema.get("values")]
    inner += [field["type"] for field in schema.get("fields", ())]
    return own + [found for branch in inner for found in _named(branch)]


def _compatible(reader: Any, writer: Any) -> bool:
    checker = avro.compatibility.ReaderWriterCompatibilityChecker()
    found = checker.get_compatibility(
        avro.schema.parse(json.dumps(reader)), avro.schema.parse(json.dumps(writer))
    )
    return bool(found.compatibility == avro.compatibility.SchemaCompatibilityType.compatible)


def test_every_schema_has_its_message() -> None:
    assert {pair.schema for pair in PAIRS} == set(NAMES)
    assert set(read_history()) == set(NAMES)


def test_code_and_schemas_have_the_same_fields_and_symbols() -> None:
    seen = set()
    for pair in PAIRS:
        for named in _named(read_schema(pair.schema)):
            seen.add(named["name"])
            if named["type"] == "enum":
                assert named["symbols"] == [member.value for member in ENUMS[named["name"]]]
            else:
                own = {field["name"] for field in named["fields"]}
                assert own == {field.name for field in fields(RECORDS[named["name"]])}
    assert seen == set(RECORDS) | set(ENUMS)


def test_code_and_schemas_have_the_same_defaults() -> None:
    for pair in PAIRS:
        for named in _named(read_schema(pair.schema)):
            if named["type"] != "record":
                continue
            code = {field.name: field for field in fields(RECORDS[named["name"]])}
            for field in named["fields"]:
                if "default" in field:
                    ours = code[field["name"]]
                    made = ours.default
                    if ours.default_factory is not MISSING:
                        made = ours.default_factory()
                    made = list(made) if isinstance(made, tuple) else made
                    # Avro writes bytes as the text of their code points.
                    made = made.decode("latin-1") if isinstance(made, bytes) else made
                    assert made == field["default"], (named["name"], field["name"])


@pytest.mark.parametrize(
    ("name", "last"), [("inference_request", ["inputs"]), ("inference_result", ["outputs", "run"])]
)
def test_content_comes_last_but_for_what_was_added(name: str, last: list[str]) -> None:
    fields = [field["name"] for field in read_schema(name)["fields"]]
    assert fields[-len(last) :] == last
    assert fields[0] == "request_id"


def test_a_result_is_read_by_who_knows_only_the_first_schema() -> None:
    """By Avro's resolution, and even by readers that take every value for one of their schema."""
    first, last = read_history()["inference_result"][0], read_schema("inference_result")
    assert _compatible(first, last)
    source = messages.Source("t", 0, 1)
    result = messages.InferenceResult(
        "id", messages.Status.COMPLETED, "m", "1", source, outputs=("a", b"b"), run=300
    )
    value = BytesIO(wire.encode_result(result))
    value.seek(10)
    read = schemaless_reader(value, parse_schema(copy.deepcopy(first)), None)
    assert isinstance(read, dict)
    assert (read["request_id"], read["outputs"], "run" in read) == ("id", ["a", b"b"], False)


def test_a_result_of_before_there_were_runs_is_of_the_first() -> None:
    first = read_history()["inference_result"][0]
    source = messages.Source("t", 0, 1)
    result = messages.InferenceResult("id", messages.Status.COMPLETED, "m", "1", source)
    value = header_of(first) + wire.encode_result(result)[10:-1]
    assert wire.decode_result(value) == result
    assert wire.decode_result_source(value) == source


def test_every_field_is_explained() -> None:
    for name in NAMES:
        for named in _named(read_schema(name)):
            if named["type"] == "record":
                assert named["doc"]
                assert all(field["doc"] for field in named["fields"])


@pytest.mark.parametrize("name", NAMES)
def test_the_history_ends_with_the_current_schema(name: str) -> None:
    assert read_history()[name][-1] == read_schema(name)
    assert len(pinned(name)) == len(read_history()[name])  # no two have one fingerprint


@pytest.mark.parametrize("name", NAMES)
def test_the_current_schema_reads_the_whole_history(name: str) -> None:
    for released in read_history()[name]:
        assert _compatible(read_schema(name), released)


def test_an_incompatible_change_would_be_seen() -> None:
    current = read_schema("inference_request")
    required = copy.deepcopy(current)
    required["fields"].insert(0, {"name": "tenant", "type": "string"})
    assert not _compatible(required, current)
    retyped = copy.deepcopy(current)
    retyped["fields"][0]["type"] = "long"
    assert not _compatible(retyped, current)
    optional = copy.deepcopy(current)
    optional["fields"].insert(0, {"name": "tenant", "type": "string", "default": ""})
    assert _compatible(optional, current)


def test_a_value_of_an_older_schema_gets_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    older = copy.deepcopy(read_schema("inference_request"))
    older["fields"] = [
        field for field in older["fields"] if field["name"] in ("request_id", "model", "inputs")
    ]
    stream = BytesIO()
    stream.write(header_of(older))
    parsed = parse_schema(older)
    schemaless_writer(stream, parsed, {"request_id": "a", "model": "b", "inputs": ["c"]})
    known = {**pinned("inference_request"), header_of(older): parsed}
    monkeypatch.setattr(codec, "pinned", lambda _: known)
    assert wire.decode_request(stream.getvalue()) == InferenceRequest("a", "b", ("c",))
    assert wire.decode_request_head(stream.getvalue()).timeout_ms is None
    assert wire.readable_request_id(stream.getvalue()) == "a"


def test_messages_are_frozen_values() -> None:
    for message in RECORDS.values():
        assert is_dataclass(message)
        assert message.__dataclass_params__.frozen  # type: ignore[attr-defined]
        assert not hasattr(message, "__dict__") or "__slots__" in vars(message)
