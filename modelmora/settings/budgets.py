"""What budgets are: how much of what a principal may use in a second or a minute."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, StringConstraints, model_validator

from modelmora.settings.rights import LANES, LaneName, NotEmpty, PrincipalGlob
from modelmora.settings.section import Section

Unit = Literal["requests", "tokens", "pixels", "device_ms"]
UNITS: tuple[Unit, ...] = get_args(Unit)
PER_S = {"second": 1, "minute": 60}
MOST = 10**15
NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
BudgetName = Annotated[
    str,
    StringConstraints(pattern=NAME),
    Field(json_schema_extra={"form": "up to 64 of a-z 0-9 . _ -, first a letter or digit"}),
]
NameGlob = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9._*-]{1,96}$"),
    Field(json_schema_extra={"form": "a model's name, * for any characters"}),
]
Part = Literal["principal", "model", "lane"]
PARTS: tuple[Part, ...] = get_args(Part)


class Rate(Section):
    """So much comes back evenly in each second or minute; up to `burst` (one `amount`) is kept."""

    amount: Annotated[int, Field(ge=1, le=MOST)]
    per: Literal["second", "minute"] = "minute"
    burst: Annotated[int, Field(ge=1, le=MOST)] | None = None

    @property
    def per_s(self) -> float:
        """What comes back in a second."""
        return self.amount / PER_S[self.per]

    @property
    def most(self) -> int:
        """What may be used at once, after a rest."""
        return self.amount if self.burst is None else self.burst


class Budget(Section):
    """What any of these principals may use, with any of these models, in any of these lanes.

    `each` says who shares it: each principal has one of its own, and so may each model and lane;
    with none of them there is one for all. A model is meant in all its versions.
    """

    principals: Annotated[tuple[PrincipalGlob, ...], NotEmpty] = ("*",)
    models: Annotated[tuple[NameGlob, ...], NotEmpty] = ("*",)
    lanes: Annotated[tuple[LaneName, ...], NotEmpty] = LANES
    each: tuple[Part, ...] = ("principal",)
    requests: Rate | None = None
    tokens: Rate | None = None
    pixels: Rate | None = None
    device_ms: Rate | None = None

    @model_validator(mode="after")
    def _limits_something(self) -> Budget:
        if not self.rates():
            raise ValueError(f"it limits nothing; name one of {', '.join(UNITS)}")
        return self

    def rates(self) -> dict[Unit, Rate]:
        """What it limits, by unit."""
        return {unit: rate for unit in UNITS if (rate := getattr(self, unit)) is not None}


Budgets = dict[BudgetName, Budget]
