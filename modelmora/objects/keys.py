"""Names of objects: until when they are kept, whose they are, and what they hold; pure."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

HOUR_MS = 3_600_000
_NAME = re.compile(r"(\d{6,9})/([0-9a-f]{16})/([0-9a-f]{64})")


class Key(NamedTuple):
    """An object's name taken apart.

    `hour` counts those since 1970; the object may be swept when it is over. `owner` stands for the
    principal it was made for. Equal content of one owner and hour is one object.
    """

    hour: int
    owner: str
    sha256: str

    @classmethod
    def read(cls, name: str) -> Key | None:
        """None for a name that is none of ours."""
        found = _NAME.fullmatch(name)
        return cls(int(found[1]), found[2], found[3]) if found else None

    @property
    def name(self) -> str:
        """As the store has it."""
        return f"{self.hour}/{self.owner}/{self.sha256}"

    @property
    def ends_ms(self) -> int:
        """When it may be swept (Unix ms)."""
        return (self.hour + 1) * HOUR_MS


def key_of(sha256: str, principal: str, expires_at: int) -> Key:
    """The key of content that must be there until then (Unix ms)."""
    return Key(expires_at // HOUR_MS, owner_of(principal), sha256)


def owner_of(principal: str) -> str:
    """What stands for a principal in names: no secret, but of one length, and without slashes."""
    return hashlib.sha256(principal.encode()).hexdigest()[:16]
