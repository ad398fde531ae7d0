"""A form in several parts (RFC 7578), taken apart as it comes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from email.utils import collapse_rfc2231_value

from modelmora.errors import Code
from modelmora.gateway.outcomes import Refusal

MOST_HEAD = 8192
_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Head:
    """Where a part begins; `filename` None where it is no file."""

    name: str
    filename: str | None


class Form:
    """Heads, each with the bytes of its part behind it. Little of what comes is held."""

    def __init__(self, content_type: str) -> None:
        """Raises Refusal where it is no form."""
        told = Message()
        told["content-type"] = content_type
        boundary = _param(told, "boundary", "content-type")
        if told.get_content_type() != "multipart/form-data" or boundary is None:
            raise _refused("content-type is multipart/form-data; boundary=...")
        self._line = b"\r\n--" + boundary.encode("utf-8", "replace")
        self._held = bytearray(b"\r\n")
        self._in_head = self._in_part = False
        self.ended = False

    def feed(self, chunk: bytes) -> Iterator[Head | bytes]:
        """What comes with these bytes. Raises Refusal."""
        if not self.ended:
            self._held += chunk
        while not self.ended:
            if self._in_head:
                head = self._head()
                if head is None:
                    return
                yield head
                continue
            at = self._held.find(self._line)
            behind = at + len(self._line)
            if at < 0 or len(self._held) < behind + 2:
                keep = len(self._line) - 1 if at < 0 else len(self._held) - at
                if self._in_part and len(self._held) > keep:
                    yield bytes(self._held[: len(self._held) - keep])
                del self._held[: max(len(self._held) - keep, 0)]
                return
            if self._in_part and at:
                yield bytes(self._held[:at])
            mark = self._held[behind : behind + 2]
            self.ended, self._in_head = mark == b"--", mark == b"\r\n"
            if not (self.ended or self._in_head):
                raise _refused("the form is broken behind a boundary")
            del self._held[:behind]

    def _head(self) -> Head | None:
        at = self._held.find(_END)
        if at > MOST_HEAD or (at < 0 and len(self._held) > MOST_HEAD):
            raise _refused("the head of a part is too long")
        if at < 0:
            return None
        told = HeaderParser().parsestr(self._held[2 : at + 2].decode("utf-8", "replace"))
        del self._held[: at + len(_END)]
        name = _param(told, "name", "content-disposition")
        if name is None:
            raise _refused("a part has no name")
        self._in_head, self._in_part = False, True
        return Head(name, _param(told, "filename", "content-disposition"))


def _param(told: Message, name: str, header: str) -> str | None:
    """A parameter, also in the form of RFC 2231, in which it may be none. Raises Refusal."""
    try:
        found = told.get_param(name, header=header)
        return None if found is None else collapse_rfc2231_value(found)
    except ValueError:  # a charset that cannot read it, a number without end
        raise _refused(f"{name} of {header} is broken") from None


def _refused(why: str) -> Refusal:
    return Refusal(Code.INVALID_INPUT, why)
