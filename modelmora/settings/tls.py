"""Settings of the certificates that our doors and our own commands show."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from modelmora.settings.kinds import FilePath
from modelmora.settings.section import Section


class TlsSettings(Section):
    """Certificates of our doors, and what our own commands show and trust."""

    certfile: FilePath | None = Field(
        None,
        description="certificate of REST, gRPC and the node's port, and those that vouch for it "
        "(PEM); read again when it changes; none = no TLS",
    )
    keyfile: FilePath | None = Field(None, description="its key (PEM, not encrypted)")
    client_cafile: FilePath | None = Field(
        None,
        description="authorities (PEM) whose certificates say who calls, see "
        "[Mutual TLS](../howto/keys.md#certificates); read again when it changes",
    )
    clients: Literal["required", "optional"] = Field(
        "required",
        description="with `client_cafile`: whether every call needs such a certificate, or keys "
        "and tokens do without one; gRPC then asks for none",
    )
    own_cafile: FilePath | None = Field(
        None,
        description="authorities (PEM) that our own commands trust; none = those of the system, "
        "and `certfile` itself where the instance is this machine's",
    )
    own_certfile: FilePath | None = Field(
        None, description="client certificate that our own commands show (PEM)"
    )
    own_keyfile: FilePath | None = Field(None, description="its key (PEM, not encrypted)")
