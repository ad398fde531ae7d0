"""Whether callers may do what they ask, or are refused with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NoReturn

from modelmora.access.rights import Told, Verb
from modelmora.audit.auditor import Tell, untold
from modelmora.errors import Code
from modelmora.gateway.caller import caller
from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.rights.guard import CALL
from modelmora.messages import Lane
from modelmora.records import Registry
from modelmora.records.ruling import Ruling
from modelmora.text import printable, shorten

SHOWN = 160
"""Characters of a model in the audit: it is a stranger's word."""


class Permits:
    """Asks the rights that count by now; what it refuses is audited."""

    def __init__(self, ruling: Ruling, audit: Tell = untold) -> None:
        self.ruling = ruling
        self._audit = audit

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
        if not decision.allowed:
            self._refuse(verb, who, decision.reason, model, request_id)

    def check_any(self, verbs: Iterable[Verb] = Verb, *, principal: str | None = None) -> None:
        """Let pass who may do any of this with any model, or raise Refusal (`forbidden`)."""
        who = caller.get() if principal is None else principal
        asked = tuple(verbs)
        decision = self.ruling.rights().decide_any(who, asked)
        if not decision.allowed:
            verb = CALL if len(asked) == len(Verb) else asked[0]
            self._refuse(verb, who, decision.reason)

    def may(self, verb: Verb) -> Callable[[str], bool]:
        """Whether the caller may do this with a model, as things are now; "" is any model."""
        rights, who = self.ruling.rights(), caller.get()
        return lambda model: rights.decide(who, verb, model or None).allowed

    def _refuse(
        self,
        verb: str,
        who: str,
        reason: str,
        model: str | None = None,
        request_id: str | None = None,
    ) -> NoReturn:
        named = model and shorten(printable(model), SHOWN)
        self._audit(verb, who, allowed=False, model=named, reason=reason, request_id=request_id)
        raise Refusal(Code.FORBIDDEN, reason, request_id=request_id or "")


EVERYTHING = Permits(Ruling(Told(), Registry()))
"""Where nobody has told a role or a grant."""
