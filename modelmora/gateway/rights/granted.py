"""Roles and grants as both doors show and tell them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from modelmora.access.rights import Rights, Source
from modelmora.gateway.hall import Changing
from modelmora.gateway.verbs import registering
from modelmora.messages import RegistryRecord
from modelmora.records import granting
from modelmora.settings.rights import BUILT_IN, Rule


class Granted:
    """What counts here: what `own`, the settings, tell, and what the registry does."""

    def __init__(self, registrar: Changing, own: Callable[[], Source]) -> None:
        self._registrar = registrar
        self._own = own

    def shown(self) -> dict[str, Any]:
        """All of it. Raises Refusal."""
        own, told = self._own(), self._registrar.told()
        sources: tuple[tuple[str, Source], ...] = (("settings", own), ("registry", told))
        roles = [*_roles("built_in", BUILT_IN.items())]
        grants: list[dict[str, Any]] = []
        for name, source in sources:
            roles += _roles(name, sorted(source.roles.items()))
            grants += [
                {"principal": principal, "told_by": name, "roles": [*granted]}
                for principal, granted in sorted(source.grants.items())
            ]
        return {"told": Rights(own, told).told, "roles": roles, "grants": grants}

    async def set_role(self, name: str, rules: Sequence[Rule]) -> dict[str, Any]:
        """Tell a role; what counts then. Raises Refusal."""
        state = self._registrar.state
        return await self._tell(lambda: granting.tell_role(state, name, rules))

    async def set_grant(self, principal: str, roles: Iterable[str]) -> dict[str, Any]:
        """Tell what a principal has; what counts then. Raises Refusal."""
        state, known = self._registrar.state, self._own().roles
        return await self._tell(lambda: granting.grant(state, principal, roles, known))

    async def _tell(self, make: Callable[[], RegistryRecord | None]) -> dict[str, Any]:
        async def work() -> None:
            self._registrar.told()  # who may not look may not guess by what is refused
            await self._registrar.tell(make())

        await registering(work())
        return self.shown()


def _roles(
    told_by: str, several: Iterable[tuple[str, tuple[Rule, ...]]]
) -> Iterator[dict[str, Any]]:
    for name, rules in several:
        shown = [each.model_dump(mode="json") for each in rules]
        yield {"name": name, "told_by": told_by, "rules": shown}
