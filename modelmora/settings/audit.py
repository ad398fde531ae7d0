"""Settings of the audit: who did what, and how it is signed."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from modelmora.settings.kinds import FilePath
from modelmora.settings.section import Section

PublicKey = Annotated[
    str,
    Field(
        pattern=r"^[0-9a-f]{64}$",
        json_schema_extra={"form": "64 of 0-9 a-f, as `modelmora audit key` prints"},
    ),
]


class AuditSettings(Section):
    """Who did what, told on the topic `audit`."""

    key_file: FilePath | None = Field(
        None,
        description="the Ed25519 key (PEM) with which this machine signs what it tells; none = "
        "`audit.key` in the data folder, made where it is missing",
    )
    trusted: tuple[PublicKey, ...] = Field(
        (),
        description="the public keys, 64 hexadecimal digits each, that `modelmora audit verify` "
        "lets sign; none = every key, and it says which there are",
    )
    kept_days: int = Field(
        365, ge=1, le=36_500, description="for how many days the topic `audit` is made to keep them"
    )
