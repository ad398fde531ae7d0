"""How a canary begins, goes on and ends, and which route it makes: records, or refusals."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import replace
from enum import Enum, auto

from modelmora.errors import Conflict, Invalid, NotFound
from modelmora.messages import RegistryRecord
from modelmora.records.canaries import Canary, Standing, canary_of, canary_record, running
from modelmora.records.routes import route_record
from modelmora.records.state import GONE, Entry, Registry
from modelmora.records.verbs import present
from modelmora.routing import routes
from modelmora.settings.canaries import WHOLE, CanaryPlan
from modelmora.settings.routes import Route

STARTED = "it begins"


class Whose(Enum):
    """Who has told the route of a name that a canary is of."""

    BEFORE = auto()
    """It still is as it was when the canary began."""
    CANARY = auto()
    OTHERS = auto()


def start(state: Registry, name: str, plan: CanaryPlan, now_ms: int) -> Canary:
    """The canary by which a version takes over a name from the one that answers.

    Raises NotFound where a version is not there, Conflict while another canary runs or where
    several versions answer, Invalid where there is nothing to take over.
    """
    if other := running(state, name):
        raise Conflict(
            f"a canary of {name} runs already, with {other.plan.candidate}; abort it first"
        )
    candidate = present(state, name, plan.candidate)
    since_ms, former = _former(state, name)
    (baseline, *others) = [version for version, weight in former.weights.items() if weight]
    if others:
        raise Conflict(
            f"{', '.join([baseline, *others])} share the requests for {name}; a canary takes over "
            f"from one alone, as `modelmora routes set {name} {baseline}` makes it"
        )
    if plan.candidate == baseline:
        raise Invalid(f"candidate: {name} is answered by {baseline} already; name another version")
    task = present(state, name, baseline).record.task
    if candidate.record.task != task:
        does = f"{plan.candidate} does {candidate.record.task}, {baseline} does {task}"
        raise Invalid(f"candidate: the versions of a route do the same; {does}")
    begun = str(uuid.uuid4())
    return Canary(begun, name, baseline, plan, former, since_ms, now_ms, why=STARTED)


def abort(state: Registry, name: str, now_ms: int) -> Canary:
    """The canary of a name as one that a person has ended. Raises NotFound, Conflict."""
    canary = canary_of(state, name)
    if canary is None:
        raise NotFound(f"{name} has no canary; see `modelmora canary list` or GET /canaries")
    if canary.standing is not Standing.RUNNING:
        raise Conflict(f"the canary of {name} runs no more: it is {canary.standing}")
    return ended(canary, Standing.ABORTED, "a person has ended it", canary.numbers, now_ms)


def stepped(canary: Canary, why: str, numbers: Mapping[str, float], now_ms: int) -> Canary:
    """At its next step, or done where it was held at the last one."""
    if canary.step + 1 == len(canary.plan.steps):
        return ended(canary, Standing.DONE, why, numbers, now_ms)
    return replace(canary, step=canary.step + 1, why=why, numbers=numbers, at_ms=now_ms)


def ended(
    canary: Canary, standing: Standing, why: str, numbers: Mapping[str, float], now_ms: int
) -> Canary:
    """One that runs no more, at the step that it had."""
    return replace(canary, standing=standing, why=why, numbers=numbers, at_ms=now_ms)


def route_wanted(canary: Canary) -> Route | None:
    """How its name is to be answered, by what it stuck to and by the rules of before.

    (1) As it says of its step.
    (2) By the candidate alone once it is done.
    (3) By the baseline alone where it was ended; of rules for the candidate nothing is left then,
        for nobody is to have it.
    (4) None: as another has said.
    """
    former, candidate = canary.former, canary.plan.candidate
    rules = former.rules
    match canary.standing:
        # (1)
        case Standing.RUNNING if canary.percent < WHOLE:
            weights = {canary.baseline: WHOLE - canary.percent, candidate: canary.percent}
        # (2)
        case Standing.RUNNING | Standing.DONE:
            weights = {candidate: 1}
        # (3)
        case Standing.ROLLED_BACK | Standing.ABORTED:
            weights = {canary.baseline: 1}
            rules = tuple(rule for rule in rules if rule.version != candidate)
        # (4)
        case _:
            return None
    return Route.model_validate({**former.model_dump(), "weights": weights, "rules": rules})


def whose_route(state: Registry, canary: Canary) -> Whose:
    """Who has told how its name is answered."""
    entry = state.route(canary.name)
    if entry and _mark_of(entry.record) == canary.id:
        return Whose.CANARY
    steps = state.told_route(canary.name)
    is_former = bool(steps) and steps[-1][0] == canary.former_since_ms
    return Whose.BEFORE if is_former else Whose.OTHERS


def follow(state: Registry, canary: Canary, writer: str, now_ms: int) -> RegistryRecord | None:
    """The route that a canary makes, to be written over the one there is; None: it is there.

    Nor is there any where the route is another's, or was never the canary's and shall not be.
    """
    whose, wanted = whose_route(state, canary), route_wanted(canary)
    begun = whose is Whose.CANARY
    runs = canary.standing is Standing.RUNNING
    if wanted is None or not (begun or (runs and whose is Whose.BEFORE)):
        return None
    told = state.told_route(canary.name)
    if begun and told and told[-1][1] == wanted:
        return None
    mark = json.dumps({"canary": canary.id})
    record = replace(route_record(canary.name, wanted, writer), details=mark)
    return over(state, state.route(canary.name), record, now_ms)


def canary_over(state: Registry, canary: Canary, writer: str, now_ms: int) -> RegistryRecord:
    """The record of a canary, to be written over the one there is."""
    return over(state, state.canary(canary.name), canary_record(canary, writer), now_ms)


def over(
    state: Registry, entry: Entry | None, record: RegistryRecord, now_ms: int
) -> RegistryRecord:
    """A record as it is to be written over what counts now."""
    based_on = None if entry is None or entry.offset == GONE else entry.offset
    return replace(state.settled(record, now_ms), based_on=based_on)


def _former(state: Registry, name: str) -> tuple[int, Route]:
    """Since when the name is answered how. Raises NotFound, Conflict where nobody has told.

    Then a first route would count for what was answered already.
    """
    if told := state.told_route(name):
        return told[-1]
    key = routes(state.models()).names.get(name)
    if key is None:
        raise NotFound(f"{name} is not registered; see `modelmora list` or GET /models")
    raise Conflict(
        f"nobody has told which version answers for {name}; `modelmora activate {name} {key[1]}` "
        "does so"
    )


def _mark_of(record: RegistryRecord) -> str | None:
    try:
        found = json.loads(record.details) if record.details else None
    except (ValueError, RecursionError):
        return None
    return found.get("canary") if isinstance(found, dict) else None
