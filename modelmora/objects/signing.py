"""URLs of the gateway's that are capabilities: who has one may do what it says until it ends."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from modelmora.objects.store import Verb

PATH = "/objects/"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a URL allows: this, of this object, until then (Unix ms)."""

    verb: Verb
    name: str
    media_type: str
    size: int
    until_ms: int

    def signed(self, secret: bytes) -> str:
        """The path and query of its URL."""
        told = {"type": self.media_type, "size": self.size, "until": self.until_ms}
        return f"{PATH}{self.name}?{urlencode({**told, 'signature': self._signature(secret)})}"

    def _signature(self, secret: bytes) -> str:
        # No field but the type can hold a line's end, and that stands last.
        told = f"{self.verb}\n{self.name}\n{self.size}\n{self.until_ms}\n{self.media_type}"
        return hmac.new(secret, told.encode(), hashlib.sha256).hexdigest()


def read_grant(
    verb: Verb, name: str, query: Mapping[str, str], secret: bytes, now_ms: float
) -> Grant | None:
    """What the URL grants; None where it was not signed for this, or its time is over."""
    size, until = query.get("size", ""), query.get("until", "")
    if not (size.isascii() and size.isdigit() and until.isascii() and until.isdigit()):
        return None
    if max(len(size), len(until)) > 18:
        return None
    grant = Grant(verb, name, query.get("type", ""), int(size), int(until))
    given = query.get("signature", "").encode("utf-8", "replace")
    good = hmac.compare_digest(grant._signature(secret).encode(), given)
    return grant if good and until == str(int(until)) and now_ms < grant.until_ms else None
