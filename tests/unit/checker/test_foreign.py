"""What the foreign producer makes, seen by our decoder."""

from __future__ import annotations

import pytest

from modelmora.errors import Code, Undecodable
from modelmora.messages import outcome_status
from modelmora.wire import decode_request, decode_request_head, readable_request_id
from modelmora.wire.codec import REQUEST_HEADER
from tests.checker.reading import readable_id
from tests.foreign import HEADER, LIMIT, Broken, draft

UNDECODABLE = [Broken.TRUNCATED, Broken.WRONG_FINGERPRINT, Broken.TRAILING_BYTES, Broken.EMPTY,
               Broken.NULL]  # fmt: skip


def test_the_header_is_ours() -> None:
    assert HEADER == REQUEST_HEADER


def test_a_valid_request_is_ours() -> None:
    made = draft("echo", ["one", b"two"], {"ms": 5}, request_id="id-1")
    assert made.code is None
    assert made.value is not None
    request = decode_request(made.value)
    assert (request.request_id, request.model, request.inputs) == ("id-1", "echo", ("one", b"two"))
    assert request.parameters == {"ms": 5}


@pytest.mark.parametrize("broken", UNDECODABLE)
@pytest.mark.parametrize("inputs", [["some text"], [], [b"\x00" * 1000, "x"]])
def test_broken_bytes_have_the_code_that_is_expected(broken: Broken, inputs: list[object]) -> None:
    made = draft("echo", inputs, request_id="id-1", broken=broken)
    with pytest.raises(Undecodable) as caught:
        decode_request_head(made.value)
    assert caught.value.code == made.code
    assert caught.value.request_id == made.request_id == ("id-1" if broken.has_id else "")
    assert readable_id(made.value) == readable_request_id(made.value) == made.request_id


def test_an_id_in_a_registrys_framing_is_readable() -> None:
    made = draft("echo", ["x"], request_id="id-1")
    assert made.value is not None
    assert readable_id(b"\0\0\0\0\7" + made.value[10:]) == "id-1"
    assert readable_id(b"\0\0\0\0\7") == readable_id(b"\0") == ""


@pytest.mark.parametrize("broken", [b for b in Broken if b not in UNDECODABLE])
def test_other_breaks_decode(broken: Broken) -> None:
    made = draft("echo", ["x"], request_id="id-1", broken=broken)
    assert made.value is not None
    request = decode_request(made.value)
    assert request.request_id == made.request_id == "id-1"
    assert (request.model != "echo") == (broken is Broken.UNKNOWN_MODEL)
    assert bool(request.parameters) == (broken is Broken.UNKNOWN_PARAMETER)
    assert (len(made.value) > LIMIT) == (broken is Broken.OVER_LIMIT)


def test_every_break_has_a_code_of_ours() -> None:
    assert all(outcome_status(Code(broken.code)) for broken in Broken)
