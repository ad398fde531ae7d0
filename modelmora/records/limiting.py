"""The budgets that count in a process: what its settings tell, and what the registry tells all."""

from __future__ import annotations

from collections.abc import Container, Mapping

from modelmora.errors import Conflict, NotFound
from modelmora.messages import RegistryRecord
from modelmora.records.budgets import budget_record
from modelmora.records.granting import over
from modelmora.records.state import Registry
from modelmora.settings.budgets import Budget


class Limiting:
    """What counts by now; of one name the settings' budget does, which are `own`."""

    def __init__(self, own: Mapping[str, Budget], registry: Registry) -> None:
        self.own = own
        self._registry = registry
        self._told: Mapping[str, Budget] | None = None
        self._all = own

    def budgets(self) -> Mapping[str, Budget]:
        """All of them; the same object until another one counts."""
        told = self._registry.budgets()
        if told is not self._told:
            self._told, self._all = told, {**told, **self.own}
        return self._all


def tell_budget(
    state: Registry, name: str, budget: Budget | None, own: Container[str] = ()
) -> RegistryRecord | None:
    """The record that tells a budget, None takes it away; None for no change.

    `own` are those that the settings tell. Raises Conflict for one of these, NotFound for one that
    is not told and so cannot be taken away.
    """
    if budget is None and name not in state.budgets():
        listed = "see `modelmora budgets list` or GET /budgets"
        where = "the settings tell it" if name in own else listed
        raise NotFound(f"the registry tells no budget {name}; {where}")
    if budget and name in own:
        raise Conflict(f"the settings tell a budget {name}, which would go before; change it there")
    return over(state, budget_record(name, budget))
