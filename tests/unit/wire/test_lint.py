"""Which schemas may never be pinned."""

from __future__ import annotations

from typing import Any

import pytest

from modelmora.wire.lint import MAX_BYTES, MAX_DEPTH, lint
from modelmora.wire.schemas import NAMES, read_history, read_schema


def _record(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "type": "record",
        "name": name,
        "namespace": "n",
        "fields": [{"name": key, "type": value} for key, value in fields.items()],
    }


def _array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _nested(depth: int) -> Any:
    schema: Any = "string"
    for _ in range(depth):
        schema = _array(schema)
    return schema


EMPTY = _record("Empty")
NULLS = _record("Nulls", one="null", two=_record("Inner", three={"type": "null"}))


@pytest.mark.row("F19")
@pytest.mark.parametrize("name", NAMES)
def test_ours_are_clean(name: str) -> None:
    assert lint(read_schema(name)) == []
    for released in read_history()[name]:
        assert lint(released) == []


@pytest.mark.row("F19")
@pytest.mark.parametrize(
    "schema",
    [
        _record("A", self=["null", "A"]),
        _record("A", self=["null", "n.A"]),
        _record("A", many=_array("A")),
        _record("A", many={"type": "map", "values": "n.A"}),
        _record("A", b=_record("B", back=["null", "n.A"])),
    ],
    ids=["short", "full", "array", "map", "mutual"],
)
def test_recursion_is_refused(schema: Any) -> None:
    assert any("contains itself" in fault for fault in lint(schema))


@pytest.mark.row("F19")
@pytest.mark.parametrize(
    "items",
    [
        "null",
        {"type": "null"},
        EMPTY,
        NULLS,
        {"type": "fixed", "name": "F", "size": 0},
        _record("Wrapped", inner={"type": "fixed", "name": "F", "size": 0}),
    ],
    ids=["null", "long-form", "empty-record", "nested-nulls", "fixed-0", "record-of-fixed-0"],
)
def test_arrays_of_zero_width_items_are_refused(items: Any) -> None:
    assert any("zero width" in fault for fault in lint(_record("R", many=_array(items))))


@pytest.mark.row("F19")
@pytest.mark.parametrize("reference", ["Empty", "n.Empty"])
def test_arrays_of_named_zero_width_items_are_refused(reference: str) -> None:
    schema = _record("R", first=EMPTY, many=_array(reference))
    assert any("zero width" in fault for fault in lint(schema))


def test_a_record_named_with_its_namespace_is_found_by_both_names() -> None:
    named = {"type": "record", "name": "x.Empty", "fields": []}
    assert lint(_record("R", first=named, many=_array("x.Empty")))


def test_arrays_of_items_with_width_are_accepted() -> None:
    fine = _record(
        "R",
        unions=_array(["null", "string"]),
        enums=_array({"type": "enum", "name": "E", "symbols": ["A"]}),
        fixed=_array({"type": "fixed", "name": "F", "size": 1}),
        twice=_record("T", one="F", two="E"),
    )
    assert lint(fine) == []


@pytest.mark.row("F19")
def test_depth_has_a_limit() -> None:
    assert lint(_nested(MAX_DEPTH)) == []
    assert lint(_nested(MAX_DEPTH + 1)) == [f"types nest deeper than {MAX_DEPTH}"]
    assert lint(_nested(900))


@pytest.mark.row("F19")
def test_size_has_a_limit() -> None:
    schema = {"type": "string", "doc": "x" * MAX_BYTES}
    assert lint(schema) == [f"the schema is larger than {MAX_BYTES} bytes"]
