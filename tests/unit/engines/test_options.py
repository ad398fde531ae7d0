"""Options of models: one table says what they may be."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest

import modelmora.engines
from modelmora.engines.base import LoadError
from modelmora.engines.catalog import CATALOG
from modelmora.engines.entries import for_model
from modelmora.engines.options import OPTIONS, option
from modelmora.errors import Code


@pytest.mark.parametrize("value", ["abc", "4", -1, 0, 1e99, 2.5, True, [], {}, float("nan")])
@pytest.mark.parametrize("name", [n for n, spec in OPTIONS.items() if spec.type in (int, float)])
def test_a_bad_number_is_refused_for_good_in_one_line(name: str, value: Any) -> None:
    spec = OPTIONS[name]
    if spec.minimum == 0 and type(value) in (int, float) and value in (0, 2.5):
        return
    with pytest.raises(LoadError) as refusal:
        option({name: value}, name, 1)
    assert refusal.value.code is Code.CANNOT_BE_SERVED
    assert re.fullmatch(
        rf"its option `{name}` must be an? (integer|number) from \d+ to \d+", refusal.value.message
    )


@pytest.mark.parametrize("name", [n for n, spec in OPTIONS.items() if spec.type in (str, list)])
def test_a_text_is_no_number(name: str) -> None:
    with pytest.raises(LoadError, match=f"`{name}` must be a"):
        option({name: 3}, name, "")


def test_what_is_null_is_not_told() -> None:
    assert option({"slots": None}, "slots", 16) == option({}, "slots", 16) == 16
    assert option({"guidance": 0}, "guidance", 7.5) == 0


@pytest.mark.parametrize("task", [*CATALOG])
def test_each_engine_is_judged_by_the_table(task: str) -> None:
    entry = CATALOG[task]
    assert entry.options
    assert {*entry.options} <= {*OPTIONS}
    for_model(entry, {}, dict.fromkeys(entry.options))
    with pytest.raises(LoadError, match="takes no option `tokenpool`; it knows: ") as refusal:
        for_model(entry, {}, {"tokenpool": 3})
    assert refusal.value.code is Code.CANNOT_BE_SERVED
    for_model(entry, {}, {"tokenpool": 3}, "their.module:Class")


def test_nothing_but_the_table_decides_how_an_option_is_read() -> None:
    """No engine reads one past it, but its adapter, which the node alone tells.

    And `onnx`, which is also read before a process has an engine.
    """
    sources = sorted(Path(inspect.getfile(modelmora.engines)).parent.rglob("*.py"))
    found = [
        (source.name, line.strip())
        for source in sources
        for line in source.read_text().splitlines()
        if re.search(r"options(\.get\((?!ADAPTER\))|\[)", line) and source.name != "options.py"
    ]
    assert found == [("forms.py", 'told = options.get("onnx")')]
    used = {
        name
        for source in sources
        for name in re.findall(r'option\(options, "(\w+)"', source.read_text())
    }
    assert used | {"onnx"} == {*OPTIONS}, json.dumps(sorted(used))
