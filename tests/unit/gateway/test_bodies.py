"""What JSON cannot say, or says so that two readers read it apart."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from modelmora.errors import Code
from modelmora.gateway.doors.rest.bodies import read_ask, read_json, strictly
from modelmora.gateway.doors.rest.registry.budgets import BudgetBody
from modelmora.gateway.outcomes import Refusal
from modelmora.settings.budgets import Budget, Rate
from modelmora.settings.canaries import CanaryPlan
from modelmora.settings.routes import Route


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "line 1, column 1"),
        (b'{"inputs":\n "x"', "line 2, column 5"),
        (b'\xef\xbb\xbf{"inputs": "x"}', "line 1, column 1"),
        (b'{"inputs": "x"} {}', "line 1, column 17"),
        (b'{"inputs": "\xff"}', "not UTF-8"),
        ('{"inputs": "x"}'.encode("utf-16"), "not UTF-8"),
        (b'{"inputs": "a\x00"}', "line 1, column 14"),
        (b'{"inputs": "\\ud800"}', "surrogate"),
        (b'{"inputs": "x", "parameters": {"\\uDFFF": 1}}', "surrogate"),
        (b'{"inputs": "x", "inputs": "y"}', "twice"),
        (b'{"inputs": "x", "parameters": {"\\u0061": 1, "a": 2}}', "twice"),
        (b'{"inputs": [{"bytes": "", "bytes": ""}]}', "twice"),
        (b'{"inputs": NaN}', "NaN is no JSON"),
        (b'{"inputs": [-Infinity]}', "-Infinity is no JSON"),
        (b'{"inputs": ' + b"9" * 5000 + b"}", "too many digits"),
        (b'{"inputs": [1e999]}', "too large"),
        (b'{"inputs": {"a\\\\": 1, "a\\\\" : 2}}', "twice"),
        (b'{"inputs": [[[{"x": [1]}, {"y": 1, "y": 1}]]]}', "twice"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_json_is_told_without_its_content(raw: bytes, why: str) -> None:
    with pytest.raises(Refusal, match=why) as caught:
        read_json(raw)
    assert caught.value.code is Code.INVALID_INPUT


@pytest.mark.parametrize("value", ["1e999", "-1e999", str(1 << 63), str(-(1 << 63) - 1)])
def test_numbers_that_a_request_has_no_room_for_are_refused(value: str) -> None:
    raw = b'{"inputs": "x", "parameters": {"p": %s}}' % value.encode()
    with pytest.raises(Refusal) as caught:
        read_ask("m", raw, request_id=None, traceparent="")
    assert caught.value.code is Code.INVALID_INPUT


@pytest.mark.parametrize("text", ["\U0001f600", "é\n", "\\ud800", "\ufeff", "\x7f"])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_what_json_can_say_comes_through(text: str, ascii_only: bool) -> None:
    raw = json.dumps({"inputs": [text]}, ensure_ascii=ascii_only).encode()
    assert read_ask("m", raw, request_id=None, traceparent="").inputs == (text,)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ([], "the body: is an object"),
        ({}, "inputs: is missing"),
        ({"input": "x", "inputs": "x"}, "input: is no field here; did you mean inputs?"),
        ({"inputs": []}, "inputs: has one element at least"),
        ({"inputs": 1}, "inputs: is a list"),
        ({"inputs": "x", "priority": "urgent"}, "priority: is one of"),
        ({"inputs": "x", "timeout_ms": 0}, "timeout_ms: is 1 at least"),
        ({"inputs": "x", "timeout_ms": "5"}, "timeout_ms: is an integer"),
        ({"inputs": "x", "parameters": {"p": {}}}, "parameters.p: is null, true or false"),
        ({"inputs": "x", "parameters": {"p": 1 << 64}}, "parameters.p: an integer has at most"),
        ({"inputs": [{"bytes": 1}]}, "inputs.0.bytes.bytes: a string in base64"),
    ],
)
def test_faults_are_told_in_our_words(body: object, told: str) -> None:
    with pytest.raises(Refusal, match=re.escape(told)):
        read_ask("m", json.dumps(body).encode(), request_id=None, traceparent="")


@pytest.mark.parametrize(
    ("kind", "body", "told"),
    [
        (CanaryPlan, {"candidate": "!"}, "candidate: is up to 64 of A-Z a-z 0-9 . _ -"),
        (CanaryPlan, {"candidate": "2", "steps": "5,100"}, "steps: is a list"),
        (CanaryPlan, {"candidate": "2", "steps": [*range(1, 21)]}, "steps: has 16 elements at"),
        (CanaryPlan, {"candidate": "2", "hold_s": "long"}, "hold_s: is a number"),
        (CanaryPlan, {"candidate": "2", "hold_s": None}, "hold_s: is a number"),
        (CanaryPlan, {"candidate": "2", "agreement": 0}, "agreement: is more than 0"),
        (Rate, {"amount": 1.5}, "amount: is an integer"),
        (Rate, {"amount": "many"}, "amount: is an integer"),
        (CanaryPlan, {"candidate": "2", "hold_s": "600"}, "hold_s: is a number"),
        (CanaryPlan, {"candidate": "2", "samples": True}, "samples: is an integer"),
        (Rate, {"amount": 10**26}, "amount: is an integer, and no such large one"),
        (Rate, {"amount": "600"}, "amount: is an integer"),
        (
            Budget,
            {"models": ["!"], "requests": {"amount": 1}},
            "models.0: is a model's name, *",
        ),
        (BudgetBody, {"name": "!", "budget": None}, "name: is up to 64 of a-z 0-9 . _ -"),
        (Route, {"weights": {"!": 1}}, "weights.!.[key]: is up to 64 of A-Z a-z"),
    ],
)
def test_faults_of_what_settings_say_too_are_told_in_our_words(
    kind: type[BaseModel], body: object, told: str
) -> None:
    with pytest.raises(Refusal, match=re.escape(told)):
        strictly(kind, read_json(json.dumps(body).encode()))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON_VALUES, st.booleans(), st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:\r\n")]))
def test_all_that_json_says_once_is_read(
    value: object, ascii_only: bool, separators: tuple[str, str]
) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only, separators=separators).encode()
    assert read_json(raw) == value


@given(st.text(max_size=3), st.lists(st.text()), st.integers(0, 3))
def test_a_name_said_twice_is_found_whatever_stands_around_it(
    name: str, texts: list[str], depth: int
) -> None:
    member = f"{json.dumps(name)}:{json.dumps(texts)}"
    value = f"{{{member},{member}}}"
    for _ in range(depth):
        value = f'[{{"in": {value}}}]'
    with pytest.raises(Refusal, match="twice"):
        read_json(value.encode())
