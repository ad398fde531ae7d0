"""Who may do what: roles and grants as they are told, and what follows from them; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from modelmora.messages import Lane
from modelmora.settings.rights import BUILT_IN, LANES, Rule, Verb
from modelmora.text import shorten

__all__ = ["TOPIC", "Decision", "Rights", "Rule", "Source", "Told", "Verb", "asking"]
TOPIC = "topic:"
"""What a principal begins with that has only been claimed by who wrote to a topic."""
ALL = "*"
MOST_KNOWN = 4096
MOST_KEPT = 256
"""Characters of a model for which a decision is kept; no model's name is longer."""
SHOWN = 120
UNGRANTED = "no role that is granted allows it"
_OF_LANES = (Verb.INFER, Verb.STREAM)
_THINGS = (Verb.JOBS_READ, Verb.DLQ_READ, Verb.DLQ_REPLAY, Verb.AUDIT_READ, Verb.ADMIN)
"""The verbs that are no words of which a sentence can be made."""
_EVERY_LANE = frozenset(LANES)


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether it may be done, and why, as one clause for people and the audit."""

    allowed: bool
    reason: str


UNTOLD = Decision(True, "no roles are told")


@dataclass(frozen=True, slots=True)
class _Held:
    """A rule as a principal has it."""

    role: str
    rule: Rule
    lanes: frozenset[str]

    @property
    def denies(self) -> bool:
        """Whether it takes, and not gives."""
        return self.rule.effect == "deny"

    def speaks_of(self, verb: Verb, model: str | None, lane: Lane | None) -> bool:
        """Whether it is about this: about all of it if it allows, of a part if it denies."""
        if verb in _OF_LANES:
            whole = self.denies or self.lanes == _EVERY_LANE
            if not (whole if lane is None else lane.label in self.lanes):
                return False
        if model is None:
            return self.denies or ALL in self.rule.models
        return any(is_of(glob, model) for glob in self.rule.models)

    def is_of_all(self, verb: Verb) -> bool:
        """Whether it leaves out no model and no lane."""
        return ALL in self.rule.models and (verb not in _OF_LANES or self.lanes == _EVERY_LANE)


class Source(Protocol):
    """Who tells roles and grants, such as the settings of `access`."""

    @property
    def roles(self) -> Mapping[str, tuple[Rule, ...]]:
        """The rules of each role."""

    @property
    def grants(self) -> Mapping[str, tuple[str, ...]]:
        """The roles of each principal, whose name is a glob."""


@dataclass(frozen=True, slots=True)
class Told:
    """What one source tells; `ever`: it has, though all may be taken back by now."""

    roles: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)
    grants: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ever: bool = False


NOTHING = Told()


class Rights:
    """What settings and registry tell together; without any role or grant everybody may do all.

    A role that both tell has the rules of both. Taking back the last grant opens nothing.
    """

    def __init__(self, own: Source = NOTHING, common: Told = NOTHING) -> None:
        sources: tuple[Source, ...] = (own, common)
        self.told = common.ever or any(each.roles or each.grants for each in sources)
        """Whether anybody has told a role or a grant."""
        self._roles: dict[str, tuple[Rule, ...]] = dict(BUILT_IN)
        self._grants: list[tuple[str, tuple[str, ...]]] = []
        for source in sources:
            for name in source.roles.keys() - BUILT_IN.keys():
                self._roles[name] = self._roles.get(name, ()) + source.roles[name]
            self._grants += source.grants.items()
        # Few ask the same again and again; of strangers' names there is no end.
        self._decided = lru_cache(MOST_KNOWN)(self._decide)
        self._held = lru_cache(MOST_KNOWN)(self._rules_of)
        self._any = lru_cache(MOST_KNOWN)(self._decide_any)

    @property
    def untold(self) -> tuple[tuple[str, str], ...]:
        """Who is granted a role that nobody tells: it allows nothing."""
        return tuple(
            (principal, name)
            for principal, roles in self._grants
            for name in roles
            if name not in self._roles
        )

    def decide(
        self, principal: str, verb: Verb, model: str | None = None, lane: Lane | None = None
    ) -> Decision:
        """Whether this principal may do that.

        `model` is `name` or `name@version`, as the request has it, or what its task alone comes
        to; None: it is about all models.
        `lane` counts for `infer` and `stream`; None: about all lanes.

        (1) While no role or grant is told, everybody may do all.
        (2) One rule that denies it, even a part of it, counts before all that allow it.
        (3) It may be done where one rule allows all of it.
        (4) What no rule allows may not be done.
        """
        # (1)
        if not self.told:
            return UNTOLD
        if model is None or len(model) <= MOST_KEPT:
            return self._decided(principal, verb, model, lane)
        return self._decide(principal, verb, model, lane)

    def _decide(self, principal: str, verb: Verb, model: str | None, lane: Lane | None) -> Decision:
        allowing = None
        for held in self._held(principal).get(verb, ()):
            if held.speaks_of(verb, model, lane):
                # (2)
                if held.denies:
                    why = f"role {held.role} denies it"
                    return Decision(False, _refusal(principal, verb, model, lane, why))
                allowing = allowing or held.role
        # (3)
        if allowing is not None:
            return Decision(True, f"role {allowing} allows it")
        # (4)
        return Decision(False, _refusal(principal, verb, model, lane, UNGRANTED))

    def decide_any(self, principal: str, verbs: Iterable[Verb] = Verb) -> Decision:
        """Whether the principal may do any of this with any model in any lane.

        For what comes before a model is known, or concerns none: pages, uploads, lists of one's
        own. It is no leave for a request; that has its own decision.
        """
        if not self.told:
            return UNTOLD
        return self._any(principal, tuple(verbs))

    def _decide_any(self, principal: str, verbs: tuple[Verb, ...]) -> Decision:
        for verb in verbs:
            held = self._held(principal).get(verb, ())
            if any(each.denies and each.is_of_all(verb) for each in held):
                continue
            for each in held:
                if not each.denies:
                    return Decision(True, f"role {each.role} allows {verb}")
        if len(verbs) == 1:
            return Decision(False, _refusal(principal, verbs[0], None, None, UNGRANTED))
        what = "do anything here" if len(verbs) == len(Verb) else " or ".join(verbs)
        return Decision(False, f"{principal} may not {what}: {UNGRANTED}")

    def _rules_of(self, principal: str) -> dict[Verb, tuple[_Held, ...]]:
        """Its rules by verb, the denying first."""
        found: dict[Verb, list[_Held]] = {}
        for held in sorted(self._granted(principal), key=lambda held: not held.denies):
            for verb in held.rule.verbs:
                found.setdefault(verb, []).append(held)
        return {verb: tuple(several) for verb, several in found.items()}

    def _granted(self, principal: str) -> Iterator[_Held]:
        """The rules of its roles.

        Whoever may write to a topic can claim any name: what is granted to `*` or `a*` allows
        nothing to a principal of `TOPIC`, only what is granted to `topic:...` does. What is denied
        to `*` is denied to it too.
        """
        for glob, roles in self._grants:
            if not matches(glob, principal):
                continue
            meant = glob.startswith(TOPIC) or not principal.startswith(TOPIC)
            for name in roles:
                for rule in self._roles.get(name, ()):
                    if meant or rule.effect == "deny":
                        yield _Held(name, rule, frozenset(rule.lanes))


def asking(*, progress: bool) -> Verb:
    """What a request is: `stream` where it is to be told how far it has come, else `infer`."""
    return Verb.STREAM if progress else Verb.INFER


def _refusal(principal: str, verb: Verb, model: str | None, lane: Lane | None, why: str) -> str:
    named = "" if model is None else shorten(model, SHOWN)
    if verb in _THINGS:
        return f"{principal} lacks the right {verb}{named and f' of {named}'}: {why}"
    where = f" in lane {lane.label}" if lane is not None and verb in _OF_LANES else ""
    return f"{principal} may not {verb}{named and f' {named}'}{where}: {why}"


def is_of(glob: str, model: str) -> bool:
    """Whether a model glob of a rule is about a model that is named `name` or `name@version`."""
    return matches(glob, model if "@" in glob else model.partition("@")[0])


def matches(glob: str, text: str) -> bool:
    """Whether a text is of a form in which `*` is any characters, also none.

    A glance at each part, in time linear in both: patterns are operators', texts are strangers'.
    """
    head, *parts = glob.split(ALL)
    if not parts:
        return glob == text
    tail = parts.pop()
    end = len(text) - len(tail)
    if end < len(head) or not (text.startswith(head) and text.endswith(tail)):
        return False
    at = len(head)
    for part in parts:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True
