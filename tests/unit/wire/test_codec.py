"""Messages to bytes and back, and what is refused."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmora import wire
from modelmora.errors import Code, Undecodable
from modelmora.messages import (
    ControlCommand,
    ControlVerb,
    ErrorInfo,
    InferenceRequest,
    InferenceResult,
    ObjectRef,
    RequestHead,
    ResultHead,
    Source,
    Status,
)
from tests.unit.wire import strategies
from tests.unit.wire.pairs import NAMES, PAIRS, Pair

REQUEST = InferenceRequest("id-1", "echo", ("one", b"two"), parameters={"ms": 5})


@pytest.mark.parametrize("pair", PAIRS, ids=NAMES)
@given(data=st.data())
def test_what_is_written_is_read(pair: Pair, data: st.DataObject) -> None:
    message = data.draw(pair.values)
    value = pair.encode(message)
    assert value[:2] == b"\xc3\x01"
    read = pair.decode(value)
    assert read == message
    assert repr(read) == repr(message)  # 1, 1.0 and True are equal, and yet not the same


@given(strategies.requests)
def test_the_head_is_the_request_without_its_inputs(request: InferenceRequest) -> None:
    head = wire.decode_request_head(wire.encode_request(request))
    same = {f.name: getattr(request, f.name) for f in fields(RequestHead) if f.compare}
    assert head == RequestHead(**same | {"inputs": len(request.inputs)})


@pytest.mark.parametrize(("blocks", "count"), [((2,), 2), ((300,), 300), ((2, 3), 2), ((), 0)])
@pytest.mark.parametrize("sized", [False, True])
def test_inputs_are_counted_unread_to_the_end_of_their_first_block(
    blocks: tuple[int, ...], count: int, sized: bool
) -> None:
    """Avro 1.12, "Arrays": a block is its count and items; a negative count names its bytes too."""
    empty = wire.encode_request(InferenceRequest("id", "echo", ()))
    text = b"\x00\x02a"  # the first branch of the union, one byte, "a"
    array = b"".join(
        (zigzag(-n) + zigzag(3 * n) if sized else zigzag(n)) + n * text for n in blocks
    )
    value = empty[:-1] + array + b"\x00"
    assert wire.decode_request_head(value).inputs == count
    assert wire.decode_request(value).inputs == ("a",) * sum(blocks)


def zigzag(number: int) -> bytes:
    """An Avro long."""
    rest, out = number << 1 ^ number >> 63, bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*out, rest])


@given(strategies.results)
def test_a_result_may_be_put_around_encoded_outputs(result: InferenceResult) -> None:
    head = ResultHead(**{f.name: getattr(result, f.name) for f in fields(ResultHead)})
    value = wire.encode_result_head(head, wire.encode_outputs(result.outputs))
    assert value == wire.encode_result(result)
    assert wire.decode_result(wire.encode_result_head(head)) == replace(result, outputs=())


@pytest.mark.parametrize("pair", PAIRS, ids=NAMES)
@given(data=st.data(), extra=st.binary(min_size=1, max_size=20))
def test_trailing_bytes_are_refused(pair: Pair, data: st.DataObject, extra: bytes) -> None:
    value = pair.encode(data.draw(pair.values))
    with pytest.raises(Undecodable) as caught:
        pair.decode(value + extra)
    assert caught.value.code is Code.TRAILING_BYTES


@pytest.mark.parametrize("pair", PAIRS, ids=NAMES)
@given(data=st.data())
def test_truncated_values_are_refused(pair: Pair, data: st.DataObject) -> None:
    value = pair.encode(data.draw(pair.values))
    cut = data.draw(st.integers(1, len(value) - 1))
    with pytest.raises(Undecodable) as caught:
        pair.decode(value[:cut])
    assert caught.value.code is Code.UNDECODABLE


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, Code.NULL_VALUE),
        (b"", Code.EMPTY_VALUE),
        (b"\xc3", Code.UNDECODABLE),
        (b"\xc3\x01\x00\x00", Code.UNDECODABLE),
        (b"\x00\x00\x00\x00\x01 confluent wire format", Code.UNDECODABLE),
        (b'{"request_id": "json"}', Code.UNDECODABLE),
        (b"\xc3\x01" + bytes(8) + wire.encode_request(REQUEST)[10:], Code.UNKNOWN_SCHEMA),
        (wire.encode_control(ControlCommand(ControlVerb.PIN, "x")),
         Code.UNKNOWN_SCHEMA),
    ],
)  # fmt: skip
def test_what_is_no_request_says_why(value: bytes | None, code: Code) -> None:
    for decode in (wire.decode_request, wire.decode_request_head):
        with pytest.raises(Undecodable) as caught:
            decode(value)
        assert caught.value.code is code
        assert "\n" not in str(caught.value)
        assert caught.value.request_id == ""
    assert wire.readable_request_id(value) == ""


@pytest.mark.parametrize("value", [None, b""])
def test_only_who_reads_requests_asks_for_one(value: bytes | None) -> None:
    for decode, asks in ((wire.decode_request, True), (wire.decode_result, False)):
        with pytest.raises(Undecodable) as caught:
            decode(value)
        assert ("send an InferenceRequest" in str(caught.value)) == asks


@given(strategies.requests, st.data())
def test_the_id_of_a_broken_record_is_read_if_it_is_whole(
    request: InferenceRequest, data: st.DataObject
) -> None:
    value = wire.encode_request(request)
    raw = request.request_id.encode()
    whole = 10 + (1 if len(raw) < 64 else 2) + len(raw)
    cut = data.draw(st.integers(0, len(value)))
    assert wire.readable_request_id(value[:cut]) == (request.request_id if cut >= whole else "")


def test_the_id_of_an_oversized_record_is_read() -> None:
    value = wire.encode_request(replace(REQUEST, inputs=(b"x" * 3_000_000,)))
    assert wire.readable_request_id(value) == "id-1"
    assert wire.readable_request_id(value + b"junk") == "id-1"


def test_the_error_of_a_broken_record_carries_its_id() -> None:
    with pytest.raises(Undecodable) as caught:
        wire.decode_request_head(wire.encode_request(REQUEST) + b"\x00")
    assert caught.value.request_id == "id-1"


def test_an_id_that_is_not_utf8_is_not_readable() -> None:
    value = wire.encode_request(REQUEST).replace(b"id-1", b"\xff\xfe\xfd\xfc")
    assert wire.readable_request_id(value) == ""
    with pytest.raises(Undecodable):
        wire.decode_request_head(value)


@pytest.mark.parametrize(
    "request_",
    [
        replace(REQUEST, parameters={"seed": 2**63}),
        replace(REQUEST, timeout_ms=-(2**63) - 1),
        replace(REQUEST, request_id="\ud800"),
    ],
    ids=["parameter", "timeout", "surrogate"],
)
def test_what_avro_cannot_hold_is_a_value_error(request_: InferenceRequest) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - fastavro's own words
        wire.encode_request(request_)


def test_a_code_of_a_later_release_is_read_as_a_failure() -> None:
    result = wire.encode_result(
        InferenceResult(
            "id-1",
            Status.FAILED,
            "m",
            "1",
            Source("t", 0, 1),
            error=ErrorInfo(Code.BUSY, "later"),
        )
    )
    error = wire.decode_result(result.replace(b"busy", b"lazy")).error
    assert error == ErrorInfo(Code.INFERENCE_FAILED, "lazy: later")


def digest(principal: str = "alice", inputs: tuple[Any, ...] = ("x",), **fields: Any) -> str:
    request = InferenceRequest(**{"request_id": "a", "model": "m"} | fields, inputs=inputs)
    value = wire.encode_request(request)
    return wire.content_digest(principal, wire.decode_request_head(value), value)


def test_the_same_content_is_the_same_however_it_is_asked() -> None:
    same = digest(parameters={"a": 1, "b": 2})
    assert len(same) == 32
    assert same == digest(request_id="b", parameters={"b": 2, "a": 1}, timeout_ms=5, progress=True)
    others = [
        digest("bob", parameters={"a": 1, "b": 2}),
        digest(inputs=("y",), parameters={"a": 1, "b": 2}),
        digest(parameters={"a": 1, "b": 2.0}),
        digest(parameters={"a": True, "b": 2}),
        digest(model="m@1", parameters={"a": 1, "b": 2}),
        digest(task="t", parameters={"a": 1, "b": 2}),
        digest("alicem", model=""),
        digest("alice", model="m"),
        digest("", model="alicem"),
    ]
    assert len({same, *others}) == 10


def test_an_object_is_the_same_wherever_it_lies() -> None:
    one = ObjectRef("s3://a/b", "0" * 64, 3, "text/plain", 1)
    there = replace(one, uri="s3://c/d", expires_at=2)
    other = replace(one, sha256="1" * 64)
    assert digest(inputs=(one, "x")) == digest(inputs=(there, "x"))
    assert digest(inputs=(one, "x")) != digest(inputs=(other, "x"))
    assert digest(inputs=("see https://a",)) != digest(inputs=("see https://b",))
