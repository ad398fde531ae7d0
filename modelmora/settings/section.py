"""What every part of the settings is made of."""

from __future__ import annotations

from typing import get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError


class Section(BaseModel):
    """A part of the settings; unknown keys are refused, so that a typing error is seen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch(cls, given: object, info: ValidationInfo) -> object:
        """`true` is no number, though Python has it so."""
        kind = cls.model_fields[info.field_name or ""].annotation
        if isinstance(given, bool) and bool not in (kind, *get_args(kind)):
            raise PydanticCustomError("no_switch", "no switch")
        return given
