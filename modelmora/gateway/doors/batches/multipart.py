"""A form in several parts (RFC 7578), taken apart as it comes."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from modelmora.errors import Code
from modelmora.gateway.outcomes import Refusal

MOST_HEADERS = 8
MOST_HEADER = 4096
_MOST_BOUNDARY = 70  # RFC 2046, 5.1.1


@dataclass(frozen=True, slots=True)
class Head:
    """Where a part begins; `filename` "" where it is no file."""

    name: str
    filename: str


class Form:
    """Heads, each with the bytes of its part behind it. Of what comes only a head is held."""

    def __init__(self, content_type: str) -> None:
        """Raises Refusal where it is no form."""
        kind, told = _options(content_type)
        boundary = told.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not 0 < len(boundary) <= _MOST_BOUNDARY:
            raise _refused("content-type is multipart/form-data; boundary=...")
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part,
                "on_header_begin": self._on_header,
                "on_header_field": self._on_field,
                "on_header_value": self._on_value,
                "on_headers_finished": self._on_head,
                "on_part_data": self._on_data,
                "on_end": self._on_end,
            },
            max_header_count=MOST_HEADERS,
            max_header_size=MOST_HEADER,
        )
        self._came: list[Head | bytes] = []
        self.ended = False

    def feed(self, chunk: bytes) -> list[Head | bytes]:
        """What comes with these bytes. Raises Refusal."""
        self._came = []
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise _refused("the form is broken, or the head of a part is too long") from None
        return self._came

    def _on_part(self) -> None:
        self._headers = defaultdict[bytes, bytes](bytes)

    def _on_header(self) -> None:
        self._field = b""

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._headers[self._field.lower()] += data[start:end]

    def _on_head(self) -> None:
        _, told = _options(self._headers[b"content-disposition"])
        if b"name" not in told:
            raise _refused("a part has no name")
        name, filename = told[b"name"], told.get(b"filename", b"")
        self._came.append(
            Head(name.decode("utf-8", "replace"), filename.decode("utf-8", "replace"))
        )

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._came.append(data[start:end])

    def _on_end(self) -> None:
        self.ended = True


def _options(value: str | bytes) -> tuple[bytes, dict[bytes, bytes]]:
    try:
        return parse_options_header(value)
    except (ValueError, LookupError):  # a charset that cannot read it, a number without end
        raise _refused("a parameter of a header cannot be read") from None


def _refused(why: str) -> Refusal:
    return Refusal(Code.INVALID_INPUT, why)
