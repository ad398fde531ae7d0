"""Settings of whose tokens say who calls."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from modelmora.settings.kinds import FilePath
from modelmora.settings.section import Section

_REST = r"[^@\s?#]*"
IssuerUrl = Annotated[
    str,
    StringConstraints(
        pattern=rf"^(https://[^@\s?#/]+|http://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]+)?)(/{_REST})?$"
    ),
    Field(json_schema_extra={"form": "https://host/path, or http:// on this machine"}),
]
PrincipalPrefix = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@:/|+-]{0,63}$"),
    Field(json_schema_extra={"form": "up to 64 of A-Z a-z 0-9 . _ @ : / | + -"}),
]


class OidcSettings(Section):
    """Whose tokens say who calls (OpenID Connect)."""

    issuer: IssuerUrl | None = Field(
        None,
        description="the issuer whose tokens are taken, exactly as their `iss` has it, see "
        "[Tokens](../howto/keys.md#tokens); none = no tokens",
    )
    audience: str | None = Field(
        None, min_length=1, description="what must stand in `aud` of a token; needed with `issuer`"
    )
    jwks_url: IssuerUrl | None = Field(
        None,
        description="where the issuer's keys are; none = where its "
        "`/.well-known/openid-configuration` says",
    )
    claim: str = Field("sub", min_length=1, description="the claim that is the principal")
    prefix: PrincipalPrefix | None = Field(
        None,
        description="what is put before it, such as `oidc:`, so that no token is taken for the "
        "holder of a key",
    )
    cafile: FilePath | None = Field(
        None, description="authorities that are trusted there (PEM); none = those of the system"
    )
