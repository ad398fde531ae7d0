"""How a client calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc

from modelmora.errors import Invalid


@dataclass(frozen=True, slots=True)
class Options:
    """How a client calls.

    `timeout_s` bounds a call with all its attempts, of which there are at most `attempts`. Where
    nothing is heard for `patience_s` (of a shorter call a quarter, half a second at least), the
    gateway is asked whether it is alive, and after as long again another one is asked. Inputs of
    more than `inline_bytes` go by the object store. `api_key` is sent as `authorization: Bearer`.
    With `tls` the channel is encrypted, and `ca` (PEM) are the authorities that are trusted instead
    of the system's; `certificate` and `key` (PEM) say who calls, and `server_name` is the name that
    stands in the gateway's certificate where it is not that of the address. `headers` go with every
    call, for the model's route to look at. Raises Invalid where it can look at none of the name.
    """

    timeout_s: float = 60.0
    attempts: int = 8
    patience_s: float = 2.0
    inline_bytes: int = 1 << 20
    api_key: str | None = None
    tls: bool = False
    ca: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None
    server_name: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.headers:
            return
        from modelmora.settings.routes import unfit  # which takes long, and few need it

        if why := unfit(self.headers):
            raise Invalid(f"headers: {why}")

    @property
    def metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """What is sent with every call; gRPC has bytes where a name ends in `-bin`."""
        told = {
            name: value.encode() if name.endswith("-bin") else value
            for name, value in self.headers.items()
        }
        key = {"authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        return (*told.items(), *key.items())

    def credentials(self) -> Any:
        """Those of an encrypted channel; None for a plain one."""
        if not (self.tls or self.ca or self.certificate):
            return None
        return grpc.ssl_channel_credentials(self.ca, self.key, self.certificate)

    @property
    def channel(self) -> tuple[tuple[str, str], ...]:
        """What a channel is told beside them."""
        name = self.server_name
        return (("grpc.ssl_target_name_override", name),) if name else ()
