"""The node can tell from the table what an engine takes."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from modelmora.engines import (
    CATALOG,
    TESTING,
    InputKind,
    ParameterSpec,
    entry_for,
    kind_of,
    settings_for,
)
from modelmora.engines.entries import first_request
from modelmora.errors import Code, RequestError
from modelmora.messages import ChatMessage, Parameter, Tensor


def test_test_engines_are_there_only_when_testing() -> None:
    assert entry_for("echo") is None
    assert entry_for("echo", testing=True) is TESTING["echo"]
    assert entry_for("txt2embed") is CATALOG["txt2embed"]
    assert entry_for("nonsense", testing=True) is None


@pytest.mark.parametrize("entry", TESTING.values(), ids=TESTING.keys())
def test_every_test_engine_of_the_table_exists(entry: object) -> None:
    module, _, name = str(getattr(entry, "engine", "")).partition(":")
    assert isinstance(getattr(importlib.import_module(module), name), type)


def test_settings_are_the_parameters_over_the_defaults() -> None:
    embed, sleep = CATALOG["txt2embed"], TESTING["sleep"]
    assert settings_for(embed, {}) == {"truncate": False}
    assert settings_for(embed, {"truncate": True}) == {"truncate": True}
    assert settings_for(sleep, {"ms": 3}) == {"ms": 3}
    assert settings_for(TESTING["crash"], {}) == {}


@pytest.mark.parametrize(
    ("task", "parameters", "code"),
    [
        ("txt2embed", {"trunkate": True}, Code.UNKNOWN_PARAMETER),
        ("txt2embed", {"truncate": "yes"}, Code.INVALID_INPUT),
        ("txt2embed", {"truncate": 1}, Code.INVALID_INPUT),
        ("sleep", {"ms": True}, Code.INVALID_INPUT),
        ("sleep", {"ms": -1}, Code.INVALID_INPUT),
        ("sleep", {"ms": float("nan")}, Code.INVALID_INPUT),
        ("crash", {"marker": None}, Code.INVALID_INPUT),
    ],
)
def test_what_is_not_taken_is_refused(
    task: str, parameters: dict[str, bool | int | float | str | None], code: Code
) -> None:
    entry = entry_for(task, testing=True)
    assert entry is not None
    with pytest.raises(RequestError) as refusal:
        settings_for(entry, parameters)
    assert refusal.value.code is code


def test_an_array_of_strings_is_taken_as_the_wire_gives_it() -> None:
    ParameterSpec(list).check("stop", ("a", "b"))
    wrong: tuple[Parameter, ...] = ("a", 1, True, None)
    for value in wrong:
        with pytest.raises(RequestError, match="`stop` must be an array of strings"):
            ParameterSpec(list).check("stop", value)


def test_kinds_of_content() -> None:
    assert kind_of("a") is InputKind.TEXT
    assert kind_of(b"a") is InputKind.BYTES
    assert kind_of(Tensor("t", "FP32", (0,), b"")) is InputKind.TENSOR
    assert kind_of(ChatMessage("user", "a")) is InputKind.MESSAGE


def test_the_table_needs_no_model_library() -> None:
    code = "import sys, modelmora.engines, modelmora.workers; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("task", "told", "inputs"),
    [
        ("txt2embed", True, ("Hello",)),
        ("txt2embed", "Good morning", ("Good morning",)),
        ("txt2embed", False, None),
        ("txt2txt", "Good morning", ("Good morning",)),
        ("echo", True, None),
        ("echo", "a", ("a",)),
    ],
)
def test_the_first_request_of_a_child(
    task: str, told: bool | str, inputs: tuple[str, ...] | None
) -> None:
    entry = entry_for(task, testing=True)
    assert entry is not None
    first = first_request(entry, "m", told)
    assert (first and first.inputs) == inputs
    if first:
        assert first.model == "m"
        settings_for(entry, first.parameters)
