"""Whether callers may do what they ask, or are refused with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from modelmora.access.rights import Decision, Told, Verb
from modelmora.errors import Code
from modelmora.gateway.caller import caller
from modelmora.gateway.outcomes import Refusal
from modelmora.messages import Lane
from modelmora.records import Registry
from modelmora.records.ruling import Ruling


@dataclass(frozen=True, slots=True)
class Denied:
    """What was asked and refused, for those who write it down; it holds no content."""

    principal: str
    verb: Verb | None
    """None where it is about anything at all."""
    model: str | None
    reason: str
    request_id: str | None = None


class Permits:
    """Asks the rights that count by now; `told` is called with each refusal."""

    def __init__(self, ruling: Ruling, told: Callable[[Denied], None] = lambda _: None) -> None:
        self.ruling = ruling
        self._told = told

    def check(
        self,
        verb: Verb,
        model: str | None = None,
        lane: Lane | None = None,
        *,
        principal: str | None = None,
        request_id: str | None = None,
    ) -> None:
        """Let it pass, or raise Refusal (`forbidden`); None as principal is the caller."""
        who = caller.get() if principal is None else principal
        decision = self.ruling.rights().decide(who, verb, model, lane)
        self._settle(decision, Denied(who, verb, model, decision.reason, request_id))

    def check_any(self, verbs: Iterable[Verb] = Verb, *, principal: str | None = None) -> None:
        """Let pass who may do any of this with any model, or raise Refusal (`forbidden`)."""
        who = caller.get() if principal is None else principal
        decision = self.ruling.rights().decide_any(who, verbs)
        self._settle(decision, Denied(who, None, None, decision.reason))

    def _settle(self, decision: Decision, denied: Denied) -> None:
        if decision.allowed:
            return
        self._told(denied)
        raise Refusal(Code.FORBIDDEN, denied.reason, request_id=denied.request_id or "")


EVERYTHING = Permits(Ruling(Told(), Registry()))
"""Where nobody has told a role or a grant."""
