"""What is told of one model: in the settings, in a definition file, in the registry."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import PurePosixPath
from typing import Annotated, Self

from pydantic import (
    BeforeValidator,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    StringConstraints,
    field_validator,
    model_validator,
)

from modelmora.settings.kinds import YEAR_S, ModelName, ModelVersion, RuntimeName
from modelmora.settings.section import Section

FOREVER = -1
"""As `keep_alive`: the model stays until memory is needed."""
_LONG = 1 << 63
MOST_SPREAD = 1024
Word = Annotated[
    str,
    StringConstraints(min_length=1, max_length=256, pattern=r"^\S(.*\S)?$"),
    Field(json_schema_extra={"form": "a line of up to 256 characters, no blank at either end"}),
]
Sha256 = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-f]{64}$"),
    Field(json_schema_extra={"form": "64 of 0-9 a-f"}),
]


def _fits(given: object) -> object:
    """Strict floats take integers, which then are other numbers."""
    if isinstance(given, int) and not -_LONG <= given < _LONG:
        raise ValueError("an integer has at most 64 bits")
    return given


Value = Annotated[
    StrictBool
    | StrictInt
    | Annotated[StrictFloat, Field(allow_inf_nan=False)]
    | StrictStr
    | tuple[StrictStr, ...]
    | None,
    BeforeValidator(_fits),
]
"""What a parameter, an option or a line of metadata holds."""


def _iso(given: object) -> object:
    """YAML makes a date of what looks like one."""
    return given.isoformat() if isinstance(given, date) else given


class ModelFile(Section):
    """One file of a model's source."""

    path: str = Field(description="below the source, with `/` between folders")
    size: int = Field(ge=0, description="bytes")
    sha256: Sha256 = Field(description="of its content")

    @field_validator("path")
    @classmethod
    def _stays_below(cls, path: str) -> str:
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts or "\\" in path or "\0" in path:
            raise ValueError("a path stays below its source, such as onnx/model.onnx")
        return path


class Licence(Section):
    """Under which terms a model may be used, and who has looked."""

    name: Word = Field(description="its SPDX identifier, such as `Apache-2.0`, or its title")
    read_from: Word | None = Field(None, description="where it was read, such as `LICENSE`")
    confirmed_by: Word | None = Field(None, description="who has read it and accepts it")
    confirmed_at: Annotated[Word, BeforeValidator(_iso)] | None = Field(
        None, description="when, as ISO 8601 has it"
    )


class AdapterConfig(Section):
    """A LoRA that makes another version of a model: `source` and all else stay the base's."""

    source: Word = Field(description="where its files are, as a model's")
    revision: Word | None = Field(None, description="which state of that source")
    files: tuple[ModelFile, ...] = Field((), description="what it holds; none = as is")


class Needs(Section):
    """What a replica takes; what is not told is measured."""

    memory_mb: int | None = Field(None, ge=1, description="memory in MiB")
    gpu_vram_mb: int | None = Field(None, ge=1, description="memory of a GPU in MiB")


class Replicas(Section):
    """How many processes may run a model at once."""

    min: int = Field(1, ge=1, le=64, description="while it is in memory")
    max: int = Field(1, ge=1, le=64, description="under load")

    @model_validator(mode="after")
    def _is_a_span(self) -> Self:
        if self.min > self.max:
            raise ValueError("min is above max")
        return self


class ModelDetails(Section):
    """What may be told of a model beside what it is called, does and comes from."""

    revision: Word | None = Field(
        None, description="which state of the source: a commit, a tag, a package's version"
    )
    files: tuple[ModelFile, ...] = Field(
        (), description="what the source holds, `path`, `size` and `sha256` of each; none = as is"
    )
    adapter: AdapterConfig | None = Field(
        None, description="a LoRA put on it: `source`, `revision` and `files` of that"
    )
    licence: Licence | None = Field(
        None, description="`name`, `read_from`, `confirmed_by`, `confirmed_at`"
    )
    needs: Needs = Field(Needs(), description="`memory_mb` and `gpu_vram_mb` of a replica")
    parameters: dict[str, Value] = Field(
        {}, description="for requests that do not set them, such as `truncate: true`"
    )
    options: dict[str, Value] = Field({}, description="for the engine, when the model is loaded")
    keep_alive: float | None = Field(
        None,
        ge=FOREVER,
        le=YEAR_S,
        description="seconds that it stays in memory with nothing to do; 0 = not at all, -1 = "
        "until memory is needed, none = as the settings say",
    )
    pinned: bool = Field(False, description="never unloaded to make room for another")
    preload: bool = Field(False, description="loaded when the node starts, not at first use")
    warm_up: bool | str = Field(
        True,
        description="a first request, run after the load and before any other; a model that fails "
        "it is not served. true = one that its task has, a text = that, false = none",
    )
    replicas: Replicas = Field(Replicas(), description="`min` and `max`")
    spread: int = Field(
        1,
        ge=1,
        le=MOST_SPREAD,
        description="how many partitions its requests lie on, so that as many nodes can share them",
    )
    runtime: RuntimeName | None = Field(
        None, description="the Python environment it runs in, one of `runtimes`; none = ours"
    )
    card: dict[str, Value] = Field(
        {}, description="what its source tells of it, such as `language`; noted by `install`"
    )
    metadata: dict[str, Value] = Field(
        {}, description="what people know of it beyond that; fills what files and card lack"
    )

    @field_validator("keep_alive")
    @classmethod
    def _is_forever_or_a_span(cls, seconds: float | None) -> float | None:
        if seconds is not None and FOREVER < seconds < 0:
            raise ValueError("a time is 0 s at least; -1 is until memory is needed")
        return seconds


class ModelConfig(ModelDetails):
    """One model to serve."""

    name: ModelName = Field(description="what requests call it")
    task: str = Field(description="what it does, such as `txt2embed`")
    source: str = Field(
        description="where its files are: [what can stand here](../howto/models.md)"
    )
    version: ModelVersion = Field("1", description="its version")
    engine: str | None = Field(None, description="what runs it; none = by the task")
    active: bool = Field(
        False, description="true: made the version that answers for its name, when this is declared"
    )

    @property
    def details(self) -> ModelDetails:
        """All but what the model is called, does and comes from."""
        return ModelDetails.model_validate(
            {name: getattr(self, name) for name in ModelDetails.model_fields}
        )


class RegistrySettings(Section):
    """What is asked of a model before it is served."""

    require_licence: bool = Field(
        False, description="serve only models whose licence somebody has confirmed"
    )


NODE_OPTIONS = ("onnx",)
"""Options of engines that name places on a node."""


def bound_to_node(engine: str | None, options: Mapping[str, object]) -> str | None:
    """The field by which a model names code or places of a node; None where there is none.

    Whoever writes to the registry could have a node import or open them: only a node's own
    settings and files may say so.
    """
    if engine and ":" in engine:
        return "engine"
    return next((f"options.{name}" for name in NODE_OPTIONS if name in options), None)
