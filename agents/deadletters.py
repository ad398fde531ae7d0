"""Dead letters: which records become one, byte for byte, and in headers why.

Context stands in Kafka Connect's `__connect.errors.*` headers (KIP-298), so that tools which read
those read ours; our own carry the stable code, the attempt and the worker's exit code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from modelmora.errors import Code, RequestError
from modelmora.kafka.writing.publisher import Headers
from modelmora.messages import ErrorInfo, ResultHead, is_final
from modelmora.messages.headers import (
    ATTEMPT,
    CONNECT,
    ERROR_CODE,
    EXIT_CODE,
    GATEWAY,
    MADE,
    REQUEST_ID,
    RUN,
    SHA256,
    SIZE,
)
from modelmora.serving import Record
from modelmora.wire import SKEW_MS, time_of
from modelmora.wire.handed import first_place
from modelmora.wire.plainjson import is_json

KEPT_BYTES = 64 * 1024

# Refused for what the caller wrote.
_CONTENT = frozenset(
    {
        Code.UNDECODABLE,
        Code.UNKNOWN_SCHEMA,
        Code.TRAILING_BYTES,
        Code.EMPTY_VALUE,
        Code.NULL_VALUE,
        Code.TOO_LARGE,
        Code.UNKNOWN_MODEL,
        Code.UNKNOWN_PARAMETER,
        Code.INVALID_INPUT,
    }
)


def leaves_letter(record: Record, error: ErrorInfo) -> bool:
    """Whether a record whose result says this error is kept as a dead letter too.

    What its caller may ask again is not: replayed as well, it would have two runs of one number.
    A caller who waits at a gateway is told what is wrong with its request, and still has it; a
    replayed record has no caller any more.
    """
    code = error.code
    if not is_final(error) or code is Code.ID_REUSED:  # the result says all
        return False
    names = {name for name, _ in record.headers}
    return not (code in _CONTENT and GATEWAY in names and RUN not in names)


def headers_of(
    record: Record, head: ResultHead, error: RequestError, exit_code: int | None
) -> list[tuple[str, bytes | None]]:
    """The record's own headers, then ours; `head` is how it has ended."""
    source = head.source
    context = {
        f"{CONNECT}topic": source.topic,
        f"{CONNECT}partition": str(source.partition),
        f"{CONNECT}offset": str(source.offset),
        f"{CONNECT}stage": "VALUE_CONVERTER" if exit_code is None else "TASK_PUT",
        f"{CONNECT}class.name": "modelmora",
        f"{CONNECT}exception.class.name": type(error).__name__,
        f"{CONNECT}exception.message": error.message,
        ERROR_CODE: error.code.value,
        ATTEMPT: str(head.attempt),
    }
    if exit_code is not None:
        context[EXIT_CODE] = str(exit_code)
    value, told = record.value, [name for name, _ in record.headers]
    if head.run > 1 and RUN not in told:
        context[RUN] = str(head.run)
    if head.request_id and is_json(value, record.headers) and REQUEST_ID not in told:
        # Written back to its lane it lies elsewhere, and is the same request.
        context[REQUEST_ID] = head.request_id
    _, asked_ms = first_place(record)
    made_ms = time_of(head.request_id)
    if MADE not in told and (made_ms is None or made_ms > asked_ms + SKEW_MS):
        # Replayed it is appended later, and is still answered by the version that it meant.
        context[MADE] = str(asked_ms)
    return [*record.headers, *((name, text.encode()) for name, text in context.items())]


def shortened(
    value: bytes | None, headers: Sequence[tuple[str, bytes | None]]
) -> tuple[bytes, Headers]:
    """For a record that the broker does not take whole: its digest and its first 64 KiB."""
    whole = value or b""
    ours = (CONNECT, "modelmora-")
    kept = [(name, text or b"") for name, text in headers if name.startswith(ours)]
    kept += [
        (SHA256, hashlib.sha256(whole).hexdigest().encode()),
        (SIZE, str(len(whole)).encode()),
    ]
    return whole[:KEPT_BYTES], kept
