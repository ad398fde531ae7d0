"""Dead letters: the record byte for byte, and in headers why it ended here.

Context stands in Kafka Connect's `__connect.errors.*` headers (KIP-298), so that tools which read
those read ours; our own carry the stable code, the attempt and the worker's exit code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from modelmora.errors import RequestError
from modelmora.kafka.writing.publisher import Headers
from modelmora.messages import Source
from modelmora.serving.request import ERROR_CODE, Record

ATTEMPT = "modelmora-attempt"
EXIT_CODE = "modelmora-worker-exit-code"
SHA256 = "modelmora-sha256"
SIZE = "modelmora-size"
CONNECT = "__connect.errors."
KEPT_BYTES = 64 * 1024


def headers_of(
    record: Record, source: Source, error: RequestError, attempt: int, exit_code: int | None
) -> list[tuple[str, bytes | None]]:
    """The record's own headers, then ours; `source` is where it was first appended."""
    context = {
        f"{CONNECT}topic": source.topic,
        f"{CONNECT}partition": str(source.partition),
        f"{CONNECT}offset": str(source.offset),
        f"{CONNECT}stage": "VALUE_CONVERTER" if exit_code is None else "TASK_PUT",
        f"{CONNECT}class.name": "modelmora",
        f"{CONNECT}exception.class.name": type(error).__name__,
        f"{CONNECT}exception.message": error.message,
        ERROR_CODE: error.code.value,
        ATTEMPT: str(attempt),
    }
    if exit_code is not None:
        context[EXIT_CODE] = str(exit_code)
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
