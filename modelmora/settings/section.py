"""What every part of the settings is made of."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from modelmora.errors import ConfigurationError


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


def secret_of(setting: str, file: Path | None, given: SecretStr | None) -> str | None:
    """A secret, from its file where one is named. Raises ConfigurationError."""
    if file:
        try:
            return file.read_text().strip()
        except OSError as error:
            raise ConfigurationError(f"{setting} {file} cannot be read: {error.strerror}") from None
    return given.get_secret_value() if given else None
