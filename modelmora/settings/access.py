"""Settings of who may call the gateway."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from modelmora.settings.budgets import Budgets
from modelmora.settings.kinds import FilePath
from modelmora.settings.rights import Grants, Roles
from modelmora.settings.section import Section


class AccessSettings(Section):
    """Who may call the gateway, and who we are to it."""

    callers: Literal["auto", "keys", "anyone"] = Field(
        "auto",
        description="`keys`: whoever has an API key, see [Keys](../howto/keys.md); `anyone`; or "
        "`auto`: anyone where `host` is this machine alone (127.0.0.1, ::1, localhost), else keys",
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
    key: SecretStr | None = Field(None, description="the API key that our own commands send")
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
