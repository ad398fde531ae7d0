"""The rights that count in a process: what its settings tell, and what the registry tells all."""

from __future__ import annotations

from modelmora.access.rights import Rights, Source, Told
from modelmora.messages import RegistryRecord
from modelmora.records.state import Registry


class Ruling:
    """Works rights out anew when the registry has been read further; `own` are the settings'."""

    def __init__(self, own: Source, registry: Registry) -> None:
        self.own = own
        self._registry = registry
        self._told: Told | None = None
        self._rights = Rights(own)

    def with_record(self, record: RegistryRecord) -> Rights:
        """What will count once this record of a role or a grant does."""
        return Rights(self.own, self._registry.told_with(record))

    def rights(self) -> Rights:
        """What counts by now."""
        told = self._registry.told()
        if told is not self._told:
            if told != self._told:
                self._rights = Rights(self.own, told)
            self._told = told
        return self._rights
