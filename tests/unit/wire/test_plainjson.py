"""Requests in plain JSON: what they mean, which id they have, how they are refused."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from modelmora.errors import Code, Undecodable
from modelmora.messages import ChatMessage, InferenceRequest, Source, Tensor
from modelmora.wire import decode_request, time_of
from modelmora.wire.plainjson import Headers, encode_json, is_json, json_request_id

PLACE = Source("ns.requests.normal", 3, 42), 1_790_000_000_000


def read(told: Any, key: bytes | None = b"echo", headers: Headers = ()) -> InferenceRequest:
    raw = told if isinstance(told, bytes) else json.dumps(told).encode()
    return decode_request(encode_json(raw, key, headers, *PLACE))


@pytest.mark.parametrize(
    ("value", "headers", "found"),
    [
        (b"{}", (), True),
        (b"\xc3\x01{", (), False),
        (b"\xc3\x01{", (("content-type", b"application/json"),), False),
        (b"\x00\x00\x00\x00\x01{", (), False),
        (b" {}", (), False),
        (b" {}", (("Content-Type", b"application/json; charset=utf-8"),), True),
        (b" {}", (("content-type", None),), False),
        (b"[]", (("content-type", b"application/json"),), True),
        (b"", (("content-type", b"application/json"),), False),
        (None, (), False),
    ],
)
def test_what_is_meant_as_json(value: bytes | None, headers: Any, found: bool) -> None:
    assert is_json(value, headers) is found


def test_every_field() -> None:
    request = read(
        {
            "request_id": "mine",
            "model": "m@2",
            "inputs": ["a", {"role": "user", "content": "b"}, {"bytes": "AP8="}],
            "parameters": {"top_k": 1, "labels": ["x", "y"]},
            "timeout_ms": 5,
            "progress": True,
        }
    )
    assert request == InferenceRequest(
        "mine",
        "m@2",
        ("a", ChatMessage("user", "b"), b"\x00\xff"),
        parameters={"top_k": 1, "labels": ("x", "y")},
        timeout_ms=5,
        progress=True,
    )
    tensor = {"name": "t", "dtype": "INT8", "shape": [2], "data": [1, 2]}
    assert read({"inputs": [tensor]}).inputs == (Tensor("t", "INT8", (2,), b"\1\2"),)


def test_key_and_place_stand_in_for_model_and_id() -> None:
    request = read({"inputs": "one text"})
    assert (request.model, request.inputs) == ("echo", ("one text",))
    assert time_of(request.request_id) == PLACE[1]
    assert uuid.UUID(request.request_id).variant == uuid.RFC_4122
    assert read({"inputs": "another"}).request_id == request.request_id, "of its place alone"
    source, timestamp = PLACE
    named = (("modelmora-request-id", b"mine"),)
    assert read({"inputs": "x"}, headers=named).request_id == "mine"
    assert read({"inputs": "x", "request_id": "own"}, headers=named).request_id == "own"
    others = {
        json_request_id(b"{}", (), Source(source.topic, source.partition, 43), timestamp),
        json_request_id(b"{}", (), Source(source.topic, 4, source.offset), timestamp),
        json_request_id(b"{}", (), source, timestamp + 1),
        request.request_id,
    }
    assert len(others) == 4
    by_task = read({"task": "txt2embed", "inputs": "x"})
    assert (by_task.model, by_task.task) == ("", "txt2embed")
    assert read({"inputs": "x"}, None).model == ""


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (b"{", "goes wrong at line 1"),
        (b'{"inputs": ["a"], "inputs": ["b"]}', "names a member twice"),
        (b"[]", "the body: "),
        ({}, "inputs: is missing"),
        ({"inputs": []}, "inputs: has one element"),
        ({"inputs": ["a"], "input": "b"}, "input: is no field here; did you mean inputs?"),
        ({"inputs": ["a"], "priority": "low"}, "priority: is no field here"),
        ({"inputs": ["a"], "timeout_ms": 0}, "timeout_ms: is 1 at least"),
        ({"inputs": ["a"], "parameters": {"p": {}}}, "parameters.p: is null, true"),
        ({"inputs": ["a"], "parameters": {"p": 1 << 63}}, "parameters.p"),
        ({"inputs": ["a"], "request_id": ""}, "request_id"),
        ({"inputs": ["a"], "request_id": "x" * 129}, "request_id"),
        ({"inputs": ["\ud800"]}, "surrogate"),
    ],
)
def test_what_is_none_is_refused_with_an_id(told: Any, said: str) -> None:
    with pytest.raises(Undecodable) as refused:
        read(told)
    assert refused.value.code is Code.INVALID_INPUT
    assert said in refused.value.message
    assert refused.value.request_id == json_request_id(b"{}", (), *PLACE)


def test_a_refusal_names_the_callers_own_id() -> None:
    with pytest.raises(Undecodable) as refused:
        read({"request_id": "mine"})
    assert refused.value.request_id == "mine"
