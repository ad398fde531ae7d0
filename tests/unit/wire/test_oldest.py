"""What is written is in the oldest released form that says it, so that older readers read it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmora import wire
from modelmora.messages import RegistryKind, RegistryRecord
from modelmora.wire.flat import renewed
from modelmora.wire.framing import Framing
from modelmora.wire.oldest import oldest
from modelmora.wire.schemas import header_of, read_history, read_schema
from tests.unit.wire.pairs import PAIRS, Pair

MODEL = RegistryRecord(RegistryKind.MODEL, "m", "1", "echo", "builtin:echo", "n1")
HEADERS = [header_of(schema) for schema in read_history()["registry_record"]]


@pytest.mark.parametrize(
    ("changed", "form"),
    [
        ({}, 0),
        ({"kind": RegistryKind.NODE}, 1),
        ({"kind": RegistryKind.NODE, "partitions": (1, 2)}, 1),
        ({"failed": {"m@1": "why"}}, 2),
        ({"spreads": {"0": 2}}, 6),
        ({"kind": RegistryKind.ROLE}, 7),
        ({"routes": {"0": "{}"}}, 8),
        ({"kind": RegistryKind.CANARY}, 9),
        ({"kind": RegistryKind.BUDGET}, 10),
    ],
)
def test_the_oldest_form_that_says_it(changed: dict[str, Any], form: int) -> None:
    record = replace(MODEL, **changed)
    value = wire.encode_registry(record)
    assert HEADERS.index(value[:10]) == form
    assert wire.decode_registry(value) == record


(REGISTRY,) = [pair for pair in PAIRS if pair.schema == "registry_record"]
OTHERS = [pair for pair in PAIRS if pair is not REGISTRY]


@given(REGISTRY.values)
def test_no_older_release_reads_less(record: Any) -> None:
    """By who knows the history only up to the form that was taken, it is read the same."""
    value = REGISTRY.encode(record)
    assert REGISTRY.decode(value) == record
    assert renewed(value, HEADERS[-1])[:10] == HEADERS[-1]
    assert REGISTRY.decode(renewed(value, HEADERS[-1])) == record


@pytest.mark.parametrize("pair", OTHERS, ids=[pair.schema for pair in OTHERS])
@given(data=st.data())
def test_all_else_has_the_current_form(pair: Pair, data: st.DataObject) -> None:
    """Readers in other languages take every value for one of their schema."""
    value = pair.encode(data.draw(pair.values))
    assert value[:10] == header_of(read_schema(pair.schema))


def test_a_change_of_another_kind_is_no_older_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """A field that is gone, or of another type, is read by its own release alone."""
    now = {"name": "a", "type": "string"}
    history = [
        {"type": "record", "name": "T", "fields": [{"name": "a", "type": "long"}]},
        {"type": "record", "name": "T", "fields": [now, {"name": "b", "type": "string"}]},
        {"type": "record", "name": "T", "fields": [now]},
    ]
    monkeypatch.setattr("modelmora.wire.oldest.read_history", lambda: {"t": history})
    assert oldest("t", {"a": "x"}).header == header_of(history[-1])


def test_a_topic_under_a_registrys_id_has_one_form() -> None:
    """Who reads by Confluent's ids is given the newest form, as was registered."""
    framing = Framing()
    framing.write("t", 7, HEADERS[-1])
    value = wire.encode_registry(MODEL)
    framed = framing.framed("t", value)
    assert framed is not None
    assert framed[:5] == b"\x00\x00\x00\x00\x07"
    assert wire.decode_registry(HEADERS[-1] + framed[5:]) == MODEL
