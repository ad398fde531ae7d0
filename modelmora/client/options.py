"""How a client calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc


@dataclass(frozen=True, slots=True)
class Options:
    """How a client calls.

    `timeout_s` bounds a call with all its attempts, of which there are at most `attempts`. Where
    nothing is heard for `patience_s` (of a shorter call a quarter, half a second at least), the
    gateway is asked whether it is alive, and after as long again another one is asked. Inputs of
    more than `inline_bytes` go by the object store. `api_key` is sent as `authorization: Bearer`.
    With `tls` the channel is encrypted, and `ca` (PEM) are the authorities that are trusted instead
    of the system's.
    """

    timeout_s: float = 60.0
    attempts: int = 8
    patience_s: float = 2.0
    inline_bytes: int = 1 << 20
    api_key: str | None = None
    tls: bool = False
    ca: bytes | None = None

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What is sent with every call."""
        return (("authorization", f"Bearer {self.api_key}"),) if self.api_key else ()

    def credentials(self) -> Any:
        """Those of an encrypted channel; None for a plain one."""
        return grpc.ssl_channel_credentials(self.ca) if self.tls or self.ca else None
