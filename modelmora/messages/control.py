"""What steers the nodes: the registry's records and the commands of the control topic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class RegistryKind(StrEnum):
    """What a registry record speaks of."""

    MODEL = "MODEL"
    ROUTE = "ROUTE"
    DEFAULT = "DEFAULT"
    NODE = "NODE"
    MEASURED = "MEASURED"
    ROLE = "ROLE"
    GRANT = "GRANT"
    CANARY = "CANARY"
    BUDGET = "BUDGET"


@dataclass(frozen=True, slots=True)
class RegistryRecord:
    """One fact of the registry; `based_on` is the offset of the record it replaces.

    ROUTE says which version answers for a name, DEFAULT which name for a task.
    With `present` false it is retired; what it was stays readable. `details` is a JSON object of
    all else that is told of a model, `declaration` the sha256 of the definition of a node that it
    was made of, None where a caller made it.
    `file_facts` is a JSON object of what its files tell, `max_inputs` how many inputs' outputs fit
    one result; None where nobody knows.
    `spreads` is over how many partitions its requests lie, by the time (Unix ms, as text) from
    which on ids are laid out so; where it is empty, on one.
    `routes` is of a ROUTE how the name is answered (as JSON), by the time (Unix ms, as text) from
    which on ids are answered so; where it is empty, by that version alone.
    NODE is the lease of a node that runs: for how long from the record's timestamp (ms), the task
    of each model that it serves by name@version, and the partitions of the lanes that it reads.
    `failed` is why it cannot load a model, `states` where each stands, and `holding` what it holds
    and what waits for it (`Holding` as text), by name@version.
    MEASURED is what `writer` has measured of a model, in `details`.
    ROLE is what those who have a role may do, GRANT which roles the principals have whose names
    match its name; both in `details`.
    CANARY, in `details`, is how a version takes over a name in steps, and how far it has come.
    BUDGET, in `details`, is how much of what principals may use.
    """

    kind: RegistryKind
    name: str
    version: str
    task: str
    source: str
    writer: str
    present: bool = True
    engine: str | None = None
    based_on: int | None = None
    lease_ms: int | None = None
    serves: Mapping[str, str] = field(default_factory=dict)
    partitions: tuple[int, ...] = ()
    max_inputs: int | None = None
    failed: Mapping[str, str] = field(default_factory=dict)
    details: str = ""
    declaration: str | None = None
    states: Mapping[str, str] = field(default_factory=dict)
    holding: Mapping[str, str] = field(default_factory=dict)
    file_facts: str = ""
    spreads: Mapping[str, int] = field(default_factory=dict)
    routes: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        """(name, version)."""
        return self.name, self.version


class ControlVerb(StrEnum):
    """What a control command asks."""

    CANCEL = "CANCEL"
    LOAD = "LOAD"
    UNLOAD = "UNLOAD"
    WARM_UP = "WARM_UP"
    PIN = "PIN"
    UNPIN = "UNPIN"


@dataclass(frozen=True, slots=True)
class ControlCommand:
    """One command to whichever node it concerns; CANCEL names a request, the rest a model.

    `everywhere`: every node that serves the model loads it, not one.
    """

    verb: ControlVerb
    target: str
    principal: str = "local"
    everywhere: bool = False
