"""A hall behind its permits, which a test gives as it goes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from modelmora.access.rights import Rule, Told, Verb
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.rights.permits import Permits
from modelmora.gateway.rights.permitted import Permitted
from modelmora.records.ruling import Ruling
from tests.unit.gateway.fakes import FakeHall, finished

LIMIT = 1_000_000
ME = "local"
MINE = "my-job"
ANY = frozenset(Verb)
"""Any right at all is enough."""
OWN: frozenset[Verb] = ANY
"""So it is for what takes back what is one's own."""
INFER, STREAM = frozenset({Verb.INFER}), frozenset({Verb.STREAM})
REQUESTS = INFER | STREAM
READ, ADMIN = frozenset({Verb.JOBS_READ}), frozenset({Verb.ADMIN})
LETTERS, REPLAY = frozenset({Verb.DLQ_READ}), frozenset({Verb.DLQ_REPLAY})
AUDIT = frozenset({Verb.AUDIT_READ})
LOAD, UNLOAD = frozenset({Verb.LOAD}), frozenset({Verb.UNLOAD})
INSTALL, ROUTE = frozenset({Verb.INSTALL}), frozenset({Verb.ROUTE})

MODEL: dict[str, Any] = {"name": "new", "task": "echo", "source": "tests"}
OBJECT: dict[str, Any] = {"media_type": "image/png", "size": 5, "sha256": "0" * 64}


@dataclass(frozen=True)
class Denied:
    """What was audited as refused."""

    verb: str
    principal: str
    allowed: bool
    model: str | None
    reason: str | None
    request_id: str | None


@dataclass
class Gate:
    """A hall behind its permits."""

    hall: FakeHall = field(default_factory=FakeHall)
    denied: list[Denied] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name, task in (
            ("texts", "txt2txt"),
            ("vectors", "txt2embed"),
            ("pictures", "txt2img"),
            ("classes", "classify"),
        ):
            self.hall.registry.register(name, task)
        job, result = finished(MINE, "out")
        self.hall.jobs[ME, MINE] = (job, result)
        self.metrics = Metrics()
        self.permits = Permits(Ruling(Told(), self.hall.registrar.state), self._audit)
        self.open = Permitted(self.hall, self.permits, self.metrics)
        self.may(())

    def _audit(
        self,
        verb: str,
        principal: str,
        *,
        allowed: bool = True,
        model: str | None = None,
        reason: str | None = None,
        request_id: str | None = None,
    ) -> None:
        self.denied.append(Denied(verb, principal, allowed, model, reason, request_id))

    def may(self, verbs: Iterable[Verb], *more: Rule) -> None:
        """From now on the caller may do this and nothing else; it has a role in any case."""
        rules = (Rule(verbs=tuple(verbs)),) if verbs else ()
        self.tell({"r": (*rules, *more)}, {ME: ("r",)})

    def tell(
        self, roles: Mapping[str, tuple[Rule, ...]], grants: Mapping[str, tuple[str, ...]]
    ) -> None:
        """What the settings say from now on."""
        self.permits.ruling = Ruling(Told(roles, grants), self.hall.registrar.state)
