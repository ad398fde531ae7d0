"""What an API key is, and by what it is recognised; decides, reads and writes nothing."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from modelmora.errors import Invalid, NotFound
from modelmora.messages.headers import LOCAL

ID_BYTES, SECRET_BYTES = 4, 32
TEXT = re.compile(rf"mm_([0-9a-f]{{{2 * ID_BYTES}}})_[0-9a-f]{{{2 * SECRET_BYTES}}}")
"""`mm_`, the id by which a key is told apart, and the secret: a form that scanners can find."""
PRINCIPAL = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")


@dataclass(frozen=True, slots=True)
class Key:
    """What is kept of a key, from which nobody can make it; times are Unix ms."""

    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid"}

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]
    principal: Annotated[str, Field(pattern=PRINCIPAL.pattern)]
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    created_at: int
    expires_at: int | None = None

    def expired(self, now: int) -> bool:
        """Whether its time is over."""
        return self.expires_at is not None and now >= self.expires_at


Keys = tuple[Key, ...]


def digest(text: str, pepper: bytes) -> str:
    """HMAC-SHA256 of a whole key. It is random, so that nothing slower protects it better."""
    return hmac.new(pepper, text.encode(), sha256).hexdigest()


def made(
    keys: Keys, principal: str, pepper: bytes, now: int, expires_at: int | None = None
) -> tuple[str, Key]:
    """A new key: its text, to be shown once, and what is kept of it. Raises Invalid."""
    if not PRINCIPAL.fullmatch(principal):
        raise Invalid("a principal is up to 64 of A-Z a-z 0-9 . _ @ -, first a letter or digit")
    if principal == LOCAL:
        raise Invalid(f"{LOCAL} is whoever calls without a key; choose another principal")
    taken = {key.id for key in keys}
    while (key_id := secrets.token_hex(ID_BYTES)) in taken:
        pass
    text = f"mm_{key_id}_{secrets.token_hex(SECRET_BYTES)}"
    return text, Key(key_id, principal, digest(text, pepper), now, expires_at)


def recognised(keys: Mapping[str, Key], text: str, pepper: bytes) -> Key | None:
    """The key by its id that this is the text of, expired or not."""
    match = TEXT.fullmatch(text)
    key = match and keys.get(match[1])
    if not key or not hmac.compare_digest(key.digest, digest(text, pepper)):
        return None
    return key


def named(keys: Keys, key_id: str) -> Key:
    """The key of this id. Raises NotFound."""
    for key in keys:
        if key.id == key_id:
            return key
    raise NotFound(f"there is no key {key_id}; see `modelmora keys list`")


def revoked(keys: Keys, key_id: str) -> Keys:
    """All keys but this one. Raises NotFound."""
    gone = named(keys, key_id)
    return tuple(key for key in keys if key is not gone)


def ending(keys: Keys, key_id: str, at: int) -> Keys:
    """The keys, this one expiring at `at` where it would not sooner. Raises NotFound."""
    old = named(keys, key_id)
    until = at if old.expires_at is None else min(at, old.expires_at)
    return tuple(replace(key, expires_at=until) if key is old else key for key in keys)
