"""Confluent's wire format beside single-object encoding, and which schemas are ours."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmora import wire
from modelmora.errors import Code, Undecodable
from modelmora.messages import InferenceRequest
from modelmora.wire import Framing
from modelmora.wire.lint import MAX_BYTES
from modelmora.wire.schemas import NAMES, header_of, pinned_header, read_history, read_schema

REQUEST = InferenceRequest("r1", "echo", ("a text", b"bytes"))
SINGLE = wire.encode_request(REQUEST)
TOPIC = "ns.requests.normal"


@pytest.fixture
def framing() -> Framing:
    framing = Framing()
    header = header_of(read_schema("inference_request"))
    framing.learn(258, header)
    framing.write(TOPIC, 258, header)
    return framing


def test_a_value_in_the_wire_format(framing: Framing) -> None:
    framed = framing.framed(TOPIC, SINGLE)
    assert framed == b"\x00\x00\x00\x01\x02" + SINGLE[10:]
    assert wire.is_framed(framed)
    assert wire.id_of(framed) == 258
    assert framing.plain(framed) == SINGLE
    assert wire.decode_request(framing.plain(framed)) == REQUEST


def test_what_is_no_confluent_value_stays_as_it_is(framing: Framing) -> None:
    for value in (SINGLE, b"", b"\x00", b"\x00\x00\x00\x01", b"text"):
        assert framing.plain(value) is value


def test_an_id_is_only_what_the_registry_said(framing: Framing) -> None:
    assert framing.plain(b"\x00\x00\x00\x01\x03" + SINGLE[10:]) is None
    assert framing.plain(b"\x00\x02\x01\x00\x00" + SINGLE[10:]) is None


def test_what_has_no_id_is_written_as_it_is(framing: Framing) -> None:
    assert framing.framed("ns.dead-letters", SINGLE) is SINGLE
    other = wire.encode_outputs(("a",))
    assert framing.framed(TOPIC, other) is other
    assert framing.framed(TOPIC, None) is None


def test_the_schema_must_be_that_of_the_topic(framing: Framing) -> None:
    framing.learn(7, header_of(read_schema("progress_event")))
    plain = framing.plain(b"\x00\x00\x00\x00\x07" + SINGLE[10:])
    with pytest.raises(Undecodable) as caught:
        wire.decode_request(plain)
    assert caught.value.code is Code.UNKNOWN_SCHEMA


def test_without_a_registry_the_message_says_what_is_missing() -> None:
    with pytest.raises(Undecodable, match=r"schema_registry\.url") as caught:
        wire.decode_request(b"\x00\x00\x00\x00\x01" + SINGLE[10:])
    assert caught.value.code is Code.UNDECODABLE


@given(st.binary(max_size=64), st.integers(0, 2**32 - 1))
def test_any_bytes_come_back(body: bytes, schema_id: int) -> None:
    framing = Framing()
    framing.learn(schema_id, SINGLE[:10])
    framing.write(TOPIC, schema_id, SINGLE[:10])
    framed = framing.framed(TOPIC, SINGLE[:10] + body)
    assert framed is not None
    assert len(framed) == 5 + len(body)
    assert framing.plain(framed) == SINGLE[:10] + body


def test_every_released_schema_is_ours() -> None:
    for name in NAMES:
        for schema in read_history()[name]:
            assert pinned_header(json.dumps(schema, indent=3)) == header_of(schema)


def _without_docs(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_docs(each) for each in schema]
    if isinstance(schema, dict):
        return {key: _without_docs(each) for key, each in schema.items() if key != "doc"}
    return schema


def test_documentation_makes_no_other_schema() -> None:
    schema = read_schema("inference_result")
    bare = _without_docs(schema)
    assert bare != schema
    assert pinned_header(json.dumps(bare)) == header_of(schema)


def _changed(change: str) -> str:
    schema = copy.deepcopy(read_schema("inference_request"))
    match change:
        case "name":
            schema["name"] = "Other"
        case "order":
            schema["fields"] = schema["fields"][::-1]
        case "more":
            schema["fields"].append({"name": "more", "type": "string", "default": ""})
        case "type":
            schema["fields"][0]["type"] = "bytes"
    return json.dumps(schema)


@pytest.mark.row("F19")
@pytest.mark.parametrize("change", ["name", "order", "more", "type"])
def test_another_schema_is_not_ours(change: str) -> None:
    assert pinned_header(_changed(change)) is None


@pytest.mark.row("F19")
@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "{",
        "null",
        "7",
        '"string"',
        "[]",
        '{"type": "record"}',
        '{"type": "record", "name": "R", "fields": 3}',
        '{"type": "nothing known"}',
        'syntax = "proto3"; message M {}',
        "[" * 30_000 + "]" * 30_000,
        '{"type":"array","items":' * 2500 + '"null"' + "}" * 2500,
        json.dumps(read_schema("inference_request")) + " " * MAX_BYTES,
    ],
)
def test_text_that_is_no_schema_of_ours(text: str | None) -> None:
    assert pinned_header(text) is None
