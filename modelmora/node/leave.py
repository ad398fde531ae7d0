"""What may be asked and ordered here: a principal's rights, whichever way it came."""

from __future__ import annotations

from modelmora.access.rights import Decision, Source, Verb, asking
from modelmora.agents.models.control import Control
from modelmora.audit.auditor import Tell, untold
from modelmora.messages import ControlVerb
from modelmora.records import Registry
from modelmora.records.ruling import Ruling
from modelmora.scheduling import ModelKey
from modelmora.serving import Incoming, Service

_OF_ORDER = {ControlVerb.UNLOAD: Verb.UNLOAD, ControlVerb.UNPIN: Verb.UNLOAD}
"""All other orders are to load."""


class Leave:
    """Decides by what the settings tell, and what the registry tells to all.

    `audit` is told of each request that is refused; orders are told of where they are answered.
    """

    def __init__(self, own: Source, registry: Registry, audit: Tell = untold) -> None:
        self._ruling = Ruling(own, registry)
        self._audit = audit

    def ask(self, service: Service, control: Control) -> None:
        """Have both ask here from now on."""
        service.forbids, control.forbids = self.of_request, self.of_order
        service.on_forbidden = self.tell

    def of_request(self, request: Incoming, model: ModelKey) -> str | None:
        """Why it may not ask this model; None: it may.

        What a node copies was asked by who may, of a version that its route names.
        """
        if request.copy and request.copy.is_live:
            return None
        rights = self._ruling.rights()
        verb, named = asking(progress=request.head.progress), request.head.model or model[0]
        return _why(rights.decide(request.principal, verb, named, request.lane))

    def tell(self, request: Incoming, reason: str) -> None:
        """A request was refused."""
        verb = asking(progress=request.head.progress)
        about = {"model": request.head.model or None, "request_id": request.head.request_id}
        self._audit(verb, request.principal, allowed=False, reason=reason, **about)

    def of_order(self, principal: str, verb: ControlVerb, model: ModelKey) -> str | None:
        """Why this may not be ordered of a model; None: it may."""
        rights = self._ruling.rights()
        return _why(rights.decide(principal, _OF_ORDER.get(verb, Verb.LOAD), "@".join(model)))


def _why(decision: Decision) -> str | None:
    return None if decision.allowed else decision.reason
