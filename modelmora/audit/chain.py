"""Records of one writer as a chain: counted, each with the digest of the one before, and signed."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from modelmora.audit.signing import Signer, is_signed
from modelmora.messages import AuditEvent, Decision
from modelmora.messages.headers import MOST_PRINCIPAL
from modelmora.text import printable, shorten
from modelmora.wire import encode_audit

MOST_NAME, MOST_REASON = 256, 1000
"""Characters of a name or id, and of a reason, that are kept."""


@dataclass(frozen=True, slots=True)
class Told:
    """What one record says, wherever in the chain it will stand; `time` in Unix ms."""

    verb: str
    principal: str
    time: int
    allowed: bool = True
    model: str | None = None
    request_id: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A record of the chain as it is written."""

    sequence: int
    value: bytes
    signature: bytes

    @property
    def digest(self) -> bytes:
        """By what the next one names it."""
        return sha256(self.value).digest()


class Chain:
    """What one writer has told; lives as long as its process."""

    def __init__(self, writer: str, signer: Signer) -> None:
        self.writer = writer
        self._signer = signer
        self._next = 0
        self._previous = b""

    def add(self, told: Told) -> Link:
        """The next record."""
        event = AuditEvent(
            writer=self.writer,
            sequence=self._next,
            previous=self._previous,
            time=told.time,
            principal=_kept(told.principal, MOST_PRINCIPAL) or "",
            verb=_kept(told.verb, MOST_NAME) or "",
            decision=Decision.ALLOWED if told.allowed else Decision.DENIED,
            model=_kept(told.model, MOST_NAME),
            request_id=_kept(told.request_id, MOST_NAME),
            reason=_kept(told.reason, MOST_REASON),
            public_key=self._signer.public_key,
        )
        value = encode_audit(event)
        link = Link(self._next, value, self._signer.sign(value))
        self._next, self._previous = self._next + 1, link.digest
        return link

    def head(self, link: Link) -> Head:
        """What is told elsewhere of how far the chain has come."""
        said = (self.writer, link.sequence, link.digest.hex(), self._signer.public_key)
        return Head(*said, self._signer.sign(_words(*said[:3])))


@dataclass(frozen=True, slots=True)
class Head:
    """That a writer's record of this number has this SHA-256 (hex), signed by that key."""

    writer: str
    sequence: int
    digest: str
    public_key: bytes
    signature: bytes

    @property
    def holds(self) -> bool:
        """Whether its key has signed it."""
        words = _words(self.writer, self.sequence, self.digest)
        return is_signed(self.public_key, self.signature, words)


def _words(writer: str, sequence: int, digest: str) -> bytes:
    # No value of a record begins so: what is signed as one is never taken for the other.
    return f"modelmora audit head {writer} {sequence} {digest}".encode(errors="replace")


def _kept(text: str | None, most: int) -> str | None:
    return None if text is None else shorten(printable(text), most)
