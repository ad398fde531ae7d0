"""What a request asks for, as a digest by which two of them are compared."""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b

from modelmora.errors import Undecodable
from modelmora.messages import ObjectRef, RequestHead
from modelmora.wire.codec import REQUEST_HEADER, decode_request, encode_inputs

_FEW_BYTES = 64 << 10


def content_digest(principal: str, head: RequestHead, value: bytes) -> str:
    """What of whom is asked, as 32 hexadecimal digits of BLAKE2b (RFC 7693).

    `value` is in single-object encoding, `head` what was decoded of it. The id, the time allowed
    and whether progress is told do not count, nor where an object lies and for how long (unless
    there are 64 KiB before it). Writers that cut arrays into blocks must always cut them alike.
    """
    task, parameters = head.task or "", head.parameters
    what = f"{len(principal)} {len(head.model)} {len(task)} {principal}{head.model}{task}"
    if parameters:
        what += repr(sorted(parameters.items()))
    told = blake2b(what.encode(), digest_size=16)
    if value.startswith(REQUEST_HEADER) and value.find(b"://", 0, _FEW_BYTES) < 0:
        told.update(memoryview(value)[head.inputs_at :])
    else:
        told.update(_plain_inputs(value, head.inputs_at))
    return told.hexdigest()


def _plain_inputs(value: bytes, start: int) -> bytes:
    """The inputs as the current schema has them, references by what they refer to."""
    try:
        inputs = decode_request(value).inputs
    except Undecodable:  # their child will say so
        return value[start:]
    same = [replace(i, uri="", expires_at=0) if isinstance(i, ObjectRef) else i for i in inputs]
    return encode_inputs(same)
