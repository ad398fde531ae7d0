"""A canary as a record of the registry, and back: its plan, and how far it has come; pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from modelmora.messages import Parameter, RegistryKind, RegistryRecord
from modelmora.records.state import Registry
from modelmora.settings.canaries import CanaryPlan
from modelmora.settings.routes import Route

MOST_WHY = 500


class Standing(StrEnum):
    """How a canary stands; all but the first are final."""

    RUNNING = "running"
    DONE = "done"
    """The candidate has all."""
    ROLLED_BACK = "rolled_back"
    ABORTED = "aborted"
    """A person has ended it: the baseline has all."""
    OVERTAKEN = "overtaken"
    """Another has changed the route, which stays as that says."""


@dataclass(frozen=True, slots=True)
class Canary:
    """A version that takes over from another which answers for a name.

    `former` is the route that counted at its beginning, and `former_since_ms` since when; `step` is
    the number of the step, from 0 on, `at_ms` when it came to stand as it does or was last looked
    at (Unix ms), `why` and `numbers` what was seen by then.
    """

    id: str
    name: str
    baseline: str
    plan: CanaryPlan
    former: Route
    former_since_ms: int
    at_ms: int
    standing: Standing = Standing.RUNNING
    step: int = 0
    why: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def percent(self) -> int:
        """The share of the candidate at its step."""
        return self.plan.steps[self.step]


def canary_record(canary: Canary, writer: str) -> RegistryRecord:
    """The record that tells it, with the candidate as its version."""
    told = {
        "id": canary.id,
        "baseline": canary.baseline,
        "plan": canary.plan.model_dump(mode="json"),
        "former": canary.former.model_dump(mode="json", exclude_defaults=True),
        "former_since_ms": canary.former_since_ms,
        "at_ms": canary.at_ms,
        "standing": canary.standing.value,
        "step": canary.step,
        "why": canary.why[:MOST_WHY],
        "numbers": dict(canary.numbers),
    }
    details = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
    version = canary.plan.candidate
    return RegistryRecord(
        RegistryKind.CANARY, canary.name, version, "", "", writer, details=details
    )


def canary_in(record: RegistryRecord) -> Canary | None:
    """The canary that a record tells; None where it cannot be read, and so is none.

    What a newer release tells beyond this one is passed over.
    """
    try:
        told = json.loads(record.details)
        plan, former = _known(CanaryPlan, told["plan"]), _known(Route, told["former"])
        found = Canary(
            str(told["id"]),
            record.name,
            str(told["baseline"]),
            plan,
            former,
            int(told["former_since_ms"]),
            int(told["at_ms"]),
            Standing(told["standing"]),
            int(told["step"]),
            str(told["why"])[:MOST_WHY],
            {str(name): float(value) for name, value in told["numbers"].items()},
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return None
    return found if 0 <= found.step < len(plan.steps) else None


def _known(kind: Any, told: Mapping[str, Any]) -> Any:
    """Raises ValidationError, which is a ValueError."""
    return kind.model_validate({n: value for n, value in told.items() if n in kind.model_fields})


def canary_of(state: Registry, name: str) -> Canary | None:
    """The last canary of a name."""
    entry = state.canary(name)
    return canary_in(entry.record) if entry and entry.record.present else None


def running(state: Registry, name: str) -> Canary | None:
    """The canary of a name that runs."""
    canary = canary_of(state, name)
    return canary if canary and canary.standing is Standing.RUNNING else None


def canaries_of(state: Registry) -> list[Canary]:
    """The last canary of each name, by name."""
    found = (canary_in(each) for each in state.of_kind(RegistryKind.CANARY))
    return sorted((each for each in found if each), key=lambda each: each.name)


def canary_facts(canary: Canary) -> dict[str, Parameter]:
    """What an event says of it."""
    return {
        "canary": canary.id,
        "baseline": canary.baseline,
        "state": canary.standing.value,
        "step_share": canary.percent / 100,
        "message": canary.why,
        **canary.numbers,
    }


def reason_of(record: RegistryRecord) -> str | None:
    """What the audit says of it: how it stands, at which share, why, and the numbers."""
    canary = canary_in(record)
    if canary is None:
        return None
    numbers = " ".join(f"{name}={value:g}" for name, value in canary.numbers.items())
    said = f"{canary.standing} at {canary.percent} %: {canary.why}"
    return f"{said} ({numbers})" if numbers else said
