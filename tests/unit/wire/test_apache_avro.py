"""Our bytes and fingerprints beside those of Apache's own `avro` package."""

from __future__ import annotations

import json
from dataclasses import replace
from io import BytesIO
from typing import Any

import avro.io
import avro.schema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmora.wire.flat import renewed
from modelmora.wire.schemas import NAMES as SCHEMAS
from modelmora.wire.schemas import header_of, read_history, read_schema
from tests.unit.wire.pairs import NAMES, PAIRS, Pair
from tests.unit.wire.strategies import plain

pytestmark = pytest.mark.no_cover


def _apache(name: str) -> Any:
    return avro.schema.parse(json.dumps(read_schema(name)))


def _written(name: str, header: bytes) -> Any:
    """The released schema of that header."""
    (found,) = (each for each in read_history()[name] if header_of(each) == header)
    return avro.schema.parse(json.dumps(found))


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_header_is_magic_and_apaches_fingerprint(name: str) -> None:
    for released in read_history()[name]:
        fingerprint = avro.schema.parse(json.dumps(released)).fingerprint("CRC-64-AVRO")
        assert header_of(released) == b"\xc3\x01" + fingerprint


@pytest.mark.parametrize("pair", PAIRS, ids=NAMES)
@given(data=st.data())
def test_apache_reads_what_we_write(pair: Pair, data: st.DataObject) -> None:
    message = data.draw(pair.values)
    value = pair.encode(message)
    stream = BytesIO(value[10:])
    reader = avro.io.DatumReader(_written(pair.schema, value[:10]), _apache(pair.schema))
    read = reader.read(avro.io.BinaryDecoder(stream))
    assert read == plain(message)
    assert not stream.read()


def _without_integers_in_maps(message: Any) -> Any:
    """Apache's Python writer puts a bool or int of a union into its double branch."""
    for name in ("parameters", "settings", "facts"):
        if values := getattr(message, name, None):
            kept = {key: v for key, v in values.items() if not isinstance(v, int)}
            return replace(message, **{name: kept})
    return message


@pytest.mark.parametrize("pair", PAIRS, ids=NAMES)
@given(data=st.data())
def test_we_read_what_apache_writes(pair: Pair, data: st.DataObject) -> None:
    message = _without_integers_in_maps(data.draw(pair.values))
    schema = _apache(pair.schema)
    stream = BytesIO()
    avro.io.DatumWriter(schema).write(plain(message), avro.io.BinaryEncoder(stream))
    value = header_of(read_schema(pair.schema)) + stream.getvalue()
    assert pair.decode(value) == message
    assert value == renewed(pair.encode(message), value[:10])
