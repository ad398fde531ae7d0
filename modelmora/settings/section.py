"""What every part of the settings is made of."""

from __future__ import annotations

from pathlib import Path
from types import UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationInfo, field_validator
from pydantic_core import PydanticKnownError

from modelmora.errors import ConfigurationError

EXACTLY = "exactly"
"""Context of a validation that takes no text for a number, as variables of the environment are."""
_FAULTS: dict[type, Literal["int_type", "float_type", "bool_type"]] = {
    int: "int_type",
    float: "float_type",
    bool: "bool_type",
}


class Section(BaseModel):
    """A part of the settings; unknown keys are refused, so that a typing error is seen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _is_meant(cls, given: object, info: ValidationInfo) -> object:
        """`true` is no number, though Python has it so, nor is text where that may not be."""
        kinds = _kinds(cls.model_fields[info.field_name or ""].annotation)
        switch = isinstance(given, bool) and bool not in kinds
        text = isinstance(given, str) and str not in kinds and info.context == EXACTLY
        for kind, fault in _FAULTS.items() if switch or text else ():
            if kind in kinds:
                raise PydanticKnownError(fault)
        return given


def _kinds(annotation: object) -> set[object]:
    """What a field is made of, without what stands beside it in `Annotated`."""
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return {kind for each in get_args(annotation) for kind in _kinds(each)}
    return {annotation}


def secret_of(setting: str, file: Path | None, given: SecretStr | None) -> str | None:
    """A secret, from its file where one is named. Raises ConfigurationError."""
    if file:
        try:
            return file.read_text("utf-8").strip()
        except OSError as error:
            raise ConfigurationError(f"{setting} {file} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigurationError(f"{setting} {file} is not a text in UTF-8") from None
    return given.get_secret_value() if given else None
