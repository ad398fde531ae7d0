"""What may be told of a canary: in which steps a new version takes over, and what ends it."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Self

from pydantic import Field, StrictInt, model_validator

from modelmora.settings.kinds import ModelVersion
from modelmora.settings.section import Section

MOST_STEPS = 16
WHOLE = 100
Percent = Annotated[StrictInt, Field(ge=1, le=WHOLE)]


class CanaryPlan(Section):
    """How a version takes over from the one that answers, and when it is rolled back."""

    candidate: ModelVersion = Field(description="the version that is to take over")
    steps: tuple[Percent, ...] = Field(
        (5, 25, 50, WHOLE),
        min_length=1,
        max_length=MOST_STEPS,
        description="its share at each step in percent, rising to 100",
    )
    hold_s: float = Field(
        600.0, ge=1, le=604_800, description="for how long a step is held at least, in seconds"
    )
    samples: StrictInt = Field(
        100, ge=10, le=10_000, description="outcomes of each version without which none is judged"
    )
    more_errors: float = Field(
        0.01,
        ge=0,
        lt=1,
        description="by how much its share of failures may be above the other's: 0.01 is one "
        "percentage point",
    )
    slower: float = Field(
        1.2, ge=1, le=1000, description="by which factor its latency may be above the other's"
    )
    confidence: float = Field(
        0.99, ge=0.5, le=0.9999, description="how sure it must be that it is worse"
    )
    agreement: float | None = Field(
        None,
        gt=0,
        le=1,
        description="how far its answers to copies of requests must agree with those of the other, "
        "in the mean of `samples` pairs; none = it is not asked",
    )

    @model_validator(mode="after")
    def _rises(self) -> Self:
        rises = all(before < after for before, after in pairwise(self.steps))
        if not rises or self.steps[-1] != WHOLE:
            raise ValueError("steps: each is above the one before, and the last is 100")
        return self
