"""What may be told of a route: which versions answer for a name, by shares and by rules."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StrictInt,
    StringConstraints,
    model_validator,
)

from modelmora.settings.kinds import ModelName, ModelVersion
from modelmora.settings.section import Section
from modelmora.text import printable, shorten

MOST_WEIGHT = 1_000_000
MOST_VERSIONS = 16
MOST_RULES = 16
BY_ID, BY_PRINCIPAL = "id", "principal"
BY_HEADER, BY_PARAMETER = "header:", "parameter:"
_TAKEN = frozenset(
    {"authorization", "cookie", "set-cookie", "host", "traceparent", "tracestate", "x-api-key"}
)
_OURS = ("modelmora-", "content-", "proxy-", "grpc-")
_HEADER = "[a-z0-9][a-z0-9-]{0,63}"
_STICKY = rf"id|principal|header:{_HEADER}|parameter:[A-Za-z_][A-Za-z0-9_.-]{{0,63}}"
_HEADER_FORM = "up to 64 of a-z 0-9 -, first a letter or digit"
_STICKY_FORM = "id, principal, header:NAME or parameter:NAME"
_OF_NODES = "keep_alive"
"""A parameter that nodes take off before a request is answered."""


def _free(name: str) -> str:
    """A secret would be kept with the request, and what we write ourselves no caller may say."""
    if name in _TAKEN or name.startswith(_OURS):
        raise ValueError(f"{name} has a meaning of its own; take another, such as x-cohort")
    return name


def is_free(name: str) -> bool:
    """Whether a route may look at a header of this name."""
    return re.fullmatch(_HEADER, name) is not None and not (
        name in _TAKEN or name.startswith(_OURS)
    )


def unfit(headers: Mapping[str, str]) -> str | None:
    """Why a call cannot have these headers for a route to look at; None where it can."""
    for name, value in headers.items():
        if not (isinstance(name, str) and is_free(name)):
            shown = shorten(printable(str(name)), 60)
            return f"{shown!r} is none at which a route looks, as x-cohort is"
        if not (isinstance(value, str) and value.isascii() and printable(value) == value):
            return f"what {name} says must be a text of printable ASCII"
    return None


def _known(sticky: str) -> str:
    if sticky.startswith(BY_HEADER):
        _free(sticky.removeprefix(BY_HEADER))
    if sticky == BY_PARAMETER + _OF_NODES:
        raise ValueError(f"{_OF_NODES} is for the node, no answer follows from it; take another")
    return sticky


def _named(given: Any) -> Any:
    if isinstance(given, str) and not re.fullmatch(_HEADER, given):
        raise ValueError(f"a header's name is {_HEADER_FORM}")
    return given


def _stuck(given: Any) -> Any:
    if isinstance(given, str) and not re.fullmatch(_STICKY, given):
        raise ValueError(f"is {_STICKY_FORM}; names of headers are in lower case")
    return given


HeaderName = Annotated[
    str,
    StringConstraints(pattern=f"^{_HEADER}$"),
    BeforeValidator(_named),
    AfterValidator(_free),
    Field(json_schema_extra={"form": _HEADER_FORM}),
]
Sticky = Annotated[
    str,
    StringConstraints(pattern=f"^({_STICKY})$"),
    BeforeValidator(_stuck),
    AfterValidator(_known),
    Field(json_schema_extra={"form": _STICKY_FORM}),
]
Weight = Annotated[StrictInt, Field(ge=0, le=MOST_WEIGHT)]
Percent = Annotated[StrictInt, Field(ge=1, le=100)]
LaneName = Literal["critical", "high", "normal", "low"]


class RouteRule(Section):
    """Which version answers what has this header or comes on this lane; both, where both stand."""

    version: ModelVersion = Field(description="what answers")
    header: HeaderName | None = Field(None, description="a header of the request")
    value: str | None = Field(
        None, max_length=256, description="what the header says; none = whatever it says"
    )
    lane: LaneName | None = Field(None, description="`critical`, `high`, `normal` or `low`")

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if self.header is None and self.lane is None:
            raise ValueError("a rule has a header, a lane or both; weights are for all else")
        if self.value is not None and self.header is None:
            raise ValueError("a value is what a header says; name the header")
        return self


class Route(Section):
    """Which versions answer for a name: the first rule that fits, else by weight."""

    weights: dict[ModelVersion, Weight] = Field(
        min_length=1,
        max_length=MOST_VERSIONS,
        description="the share of each version, such as `{'1': 95, '2': 5}`; of any sum",
    )
    sticky: Sticky = Field(
        BY_ID,
        description="what always gets the same version while the weights stay: `id` (each request "
        "for itself), `principal`, `header:NAME` or `parameter:NAME`",
    )
    rules: tuple[RouteRule, ...] = Field(
        (), max_length=MOST_RULES, description="looked at before the weights, the first that fits"
    )
    shadow: dict[ModelVersion, Percent] = Field(
        {},
        max_length=MOST_VERSIONS,
        description="versions that get a copy of so many percent of the requests, to be compared: "
        "nobody is told what they answer",
    )

    @model_validator(mode="after")
    def _answers(self) -> Self:
        if not sum(self.weights.values()):
            raise ValueError("weights: at least one is above 0")
        return self

    @cached_property
    def versions(self) -> frozenset[str]:
        """All that may answer."""
        shared = {version for version, weight in self.weights.items() if weight}
        return frozenset(shared | {rule.version for rule in self.rules})

    @cached_property
    def only(self) -> str | None:
        """The version that answers all; None where there are several."""
        return next(iter(self.versions)) if len(self.versions) == 1 else None

    @cached_property
    def headers(self) -> frozenset[str]:
        """The headers of a request that it looks at."""
        named = {rule.header for rule in self.rules if rule.header}
        if self.sticky.startswith(BY_HEADER):
            named.add(self.sticky.removeprefix(BY_HEADER))
        return frozenset(named)


class NamedRoute(Route):
    """A route as files tell it."""

    name: ModelName = Field(description="what requests call it")

    @property
    def route(self) -> Route:
        """All but the name."""
        told = {field: getattr(self, field) for field in Route.model_fields}
        return Route(**told)
