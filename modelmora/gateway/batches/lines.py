"""The lines of a batch's input: found, read one by one, and looked through as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, BinaryIO

from modelmora.errors import RequestError
from modelmora.gateway.batches.state import Fault
from modelmora.wire.strict import parse

MOST_LINES = 100_000
MOST_FAULTS = 100
"""So many faults of an input are told."""
MOST_ID = 512
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Line:
    """One request; `body` is what its path takes, as JSON."""

    number: int
    custom_id: str
    body: Any


class Faulty(Exception):
    """A line is no request of this batch."""

    def __init__(self, code: str, message: str, line: int, param: str | None = None) -> None:
        super().__init__(message)
        self.fault = Fault(code, message, line, param)


def lines(file: BinaryIO, most: int) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, by their numbers from 1; one of more than `most` bytes is cut.

    What is cut has no end of a line, and goes on as the next.
    """
    number = 0
    while raw := file.readline(most + 1):
        number += 1
        text = raw.removeprefix(_BOM) if number == 1 else raw
        if text.strip():
            yield number, text


def read_line(number: int, raw: bytes, endpoint: str) -> Line:
    """What a line asks. Raises Faulty."""
    try:
        found = parse(raw)
    except RequestError as error:
        raise Faulty("invalid_json_line", error.message, number) from None
    if not isinstance(found, dict):
        raise Faulty("invalid_request", "a line is a JSON object", number)
    custom_id, body = found.get("custom_id"), found.get("body")
    if not (isinstance(custom_id, str) and 0 < len(custom_id) <= MOST_ID):
        why = f"it is a string of 1 to {MOST_ID} characters"
        raise Faulty("invalid_custom_id", why, number, "custom_id")
    if found.get("method") != "POST":
        raise Faulty("invalid_method", "it is POST", number, "method")
    if found.get("url") != endpoint:
        raise Faulty("mismatched_endpoint", f"it is {endpoint} in this batch", number, "url")
    if not isinstance(body, dict):
        raise Faulty("invalid_request", "it is the JSON object that is sent there", number, "body")
    return Line(number, custom_id, body)


def check(file: BinaryIO, most: int, endpoint: str) -> tuple[int, list[Fault]]:
    """How many requests there are, and what is wrong with the file; it is read from its start."""
    count, faults = 0, list[Fault]()
    seen: dict[bytes, int] = {}
    file.seek(0)
    for number, raw in lines(file, most):
        count += 1
        if len(raw) > most:
            faults.append(Fault("line_too_large", f"a line has {most} bytes at most", number))
            break
        if count > MOST_LINES:
            message = f"a batch has {MOST_LINES} requests at most; send the rest in another"
            faults.append(Fault("too_many_requests", message, number))
            break
        try:
            line = read_line(number, raw, endpoint)
        except Faulty as faulty:
            faults.append(faulty.fault)
        else:
            key = sha256(line.custom_id.encode("utf-8", "surrogatepass")).digest()[:16]
            if key in seen:
                message = f"it is that of line {seen[key]} too; each has one of its own"
                faults.append(Fault("duplicate_custom_id", message, number, "custom_id"))
            seen.setdefault(key, number)
        if len(faults) >= MOST_FAULTS:
            break
    if not count:
        faults.append(Fault("empty_file", "the file has no line; give it one at least"))
    return count, faults
