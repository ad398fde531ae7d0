"""The rights that count in a process: what its settings tell, and what the registry tells to all."""

from __future__ import annotations

from modelmora.access.rights import Rights, Source, Told
from modelmora.records.state import Registry


class Ruling:
    """Works rights out anew when the registry has been read further; `own` are the settings'."""

    def __init__(self, own: Source, registry: Registry) -> None:
        self._own = own
        self._registry = registry
        self._told: Told | None = None
        self._rights = Rights(own)

    def rights(self) -> Rights:
        """What counts by now."""
        told = self._registry.told()
        if told is not self._told:
            if told != self._told:
                self._rights = Rights(self._own, told)
            self._told = told
        return self._rights
