"""Settings of who may call the gateway."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from modelmora.errors import ConfigurationError
from modelmora.settings.budgets import Budgets
from modelmora.settings.kinds import FilePath
from modelmora.settings.rights import Grants, Roles
from modelmora.settings.section import Section, secret_of

SECRET_CHARS = 32
"""Of a cluster secret at least: who has one record could try shorter ones against it."""


class AccessSettings(Section):
    """Who may call the gateway, and who we are to it."""

    callers: Literal["auto", "keys", "anyone"] = Field(
        "auto",
        description="`keys`: whoever has an API key, a token or a certificate, see "
        "[Keys](../howto/keys.md); `anyone`; or `auto`: anyone where `host` is this machine alone "
        "(127.0.0.1, ::1, localhost) and neither `oidc.issuer` nor `tls.client_cafile` is set, "
        "else `keys`",
    )
    keys_file: FilePath | None = Field(
        None,
        description="the file of API keys, read again when it changes; none = `keys.json` in the "
        "data folder",
    )
    pepper: SecretStr | None = Field(
        None, description="a secret without which nobody can check or make keys for that file"
    )
    pepper_file: FilePath | None = Field(
        None,
        description="a file that holds it, made with the first key; goes before `pepper`; none of "
        "both = `keys.pepper` in the data folder",
    )
    key: SecretStr | None = Field(
        None, description="the API key, or token, that our own commands send"
    )
    roles: Roles = Field(
        {},
        description="roles by name, each a list of rules of `verbs`, `models`, `lanes` and "
        "`effect`, see [Rights](../howto/rights.md)",
    )
    grants: Grants = Field(
        {},
        description="the roles of each principal, in whose name `*` is any characters. Once a role "
        "or grant is told, here or on the topic `registry`, nobody may do what none allows",
    )
    budgets: Budgets = Field(
        {},
        description="how many requests, tokens, pixels and milliseconds of devices principals may "
        "use in a second or minute, by name, see [Budgets](../howto/budgets.md)",
    )
    cluster_secret: SecretStr | None = Field(
        None,
        description="what gateways sign requests with and nodes check them, 32 characters or more, "
        "see [Signed records](../howto/signed.md); of several with blanks between the first signs "
        "and all hold",
    )
    cluster_secret_file: FilePath | None = Field(
        None, description="a file that holds it; goes before `cluster_secret`"
    )
    signing_key: SecretStr | None = Field(
        None,
        description="the key of one principal, as which the Kafka client and our own commands sign "
        "where there is no cluster secret; made by `modelmora keys signing`",
    )
    signing_key_file: FilePath | None = Field(
        None, description="a file that holds it; goes before `signing_key`"
    )

    def cluster_secrets(self) -> tuple[str, ...]:
        """The secrets of the cluster, the one that signs first. Raises ConfigurationError."""
        text = secret_of(
            "access.cluster_secret_file", self.cluster_secret_file, self.cluster_secret
        )
        found = tuple((text or "").split())
        if (text is not None and not found) or any(len(each) < SECRET_CHARS for each in found):
            raise ConfigurationError(
                f"access.cluster_secret is {SECRET_CHARS} characters or more; "
                "make one with `openssl rand -hex 32`"
            )
        return found

    def own_signing_key(self) -> str | None:
        """The key of one principal. Raises ConfigurationError."""
        return secret_of("access.signing_key_file", self.signing_key_file, self.signing_key)
