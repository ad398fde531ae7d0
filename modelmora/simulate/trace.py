"""Traffic as a file: a line that says what models cost, then a line for each request."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from modelmora.errors import Invalid
from modelmora.messages import Lane
from modelmora.settings.kinds import YEAR_S
from modelmora.settings.models import MOST_SPREAD
from modelmora.text import did_you_mean, printable, shorten

_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
_SHOWN = 40
_LANES = {lane.label: lane for lane in Lane}


def _lane(given: object) -> object:
    if isinstance(given, Lane):
        return given
    if not isinstance(given, str) or given not in _LANES:
        raise PydanticCustomError("lane", f"one of {', '.join(_LANES)}")
    return _LANES[given]


Seconds = Annotated[float, Field(ge=0, le=YEAR_S)]
Count = Annotated[int, Field(ge=1, le=1 << 20)]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a model takes: bytes of memory, seconds to load, and seconds to compute.

    A child answers the requests of a group `batch` at a time, each time in `base_s` + `unit_s` *
    (their `units`); one with `slots` works on so many requests at once, each in that time, whatever
    else it does. With `cores` these are seconds of all cores, which it may have to share. Its
    requests lie on `spread` partitions.
    """

    __pydantic_config__ = _STRICT

    load_s: Seconds | None = None
    bytes: Annotated[int, Field(ge=1, lt=1 << 60)] | None = None
    base_s: Seconds = 0.0
    unit_s: Seconds = 0.0
    batch: Count = 1
    slots: Count | None = None
    cores: bool = False
    spread: Annotated[int, Field(ge=1, le=MOST_SPREAD)] = 1

    def seconds(self, units: float) -> float:
        """How long so many units take that are computed at once."""
        return self.base_s + self.unit_s * units


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: seconds since the trace begins, name@version as the header has it, its lane.

    `size` is bytes on the topic, `units` what it costs in units of its model, `principal` who asks,
    `timeout_ms` as the request had it; requests of one `kind` may share a group.
    """

    __pydantic_config__ = _STRICT

    time: Seconds
    model: str
    lane: Annotated[Lane, BeforeValidator(_lane)] = Lane.NORMAL
    size: Annotated[int, Field(ge=0, lt=1 << 40)] = 0
    units: Seconds = 1.0
    principal: str = ""
    timeout_ms: Annotated[int, Field(ge=1, le=1000 * YEAR_S)] | None = None
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Trace:
    """What models cost, and the requests in the order of their times."""

    models: Mapping[str, Cost] = field(default_factory=dict)
    requests: Sequence[Asked] = ()


@dataclass(frozen=True, slots=True)
class _Header:
    __pydantic_config__ = _STRICT

    models: dict[str, Cost]


_HEADER, _ASKED = TypeAdapter(_Header), TypeAdapter(Asked)


def read_trace(lines: Iterable[str | bytes], known: Mapping[str, Cost] | None = None) -> Trace:
    """The trace that these lines are; blank ones count for their number only.

    `known` is what is known of models otherwise: where the header leaves `bytes` or `load_s` out.
    Raises Invalid, with the number of the line.
    """
    models: dict[str, Cost] | None = None
    requests: list[Asked] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if models is None:
            models = _completed(_taken(_HEADER, line, number).models, known or {}, number)
            continue
        asked = _taken(_ASKED, line, number)
        if asked.model not in models:
            near = did_you_mean(asked.model, models)
            raise Invalid(f"line {number}: {_told(asked.model)} is not in the first line{near}")
        if requests and asked.time < requests[-1].time:
            raise Invalid(f"line {number}: its time is before that of the request above it")
        requests.append(asked)
    if models is None or not requests:
        raise Invalid("it holds no request; its first line is what models cost, then one for each")
    return Trace(models, requests)


def _completed(
    models: Mapping[str, Cost], known: Mapping[str, Cost], number: int
) -> dict[str, Cost]:
    found = {}
    for name, cost in models.items():
        other = known.get(name, Cost())
        load_s = other.load_s if cost.load_s is None else cost.load_s
        whole = replace(cost, load_s=load_s, bytes=cost.bytes or other.bytes)
        lacks = [each for each in ("load_s", "bytes") if getattr(whole, each) is None]
        if lacks:
            raise Invalid(
                f"line {number}: {_told(name)} lacks `{lacks[0]}`, which no node here has measured"
            )
        found[name] = whole
    return found


def lines_of(trace: Trace) -> Iterator[str]:
    """The lines of a trace, without their ends; what is as it need not be told is left out."""
    yield _line({"models": {name: _brief(cost) for name, cost in trace.models.items()}})
    for asked in trace.requests:
        brief = _brief(asked)
        if "lane" in brief:
            brief["lane"] = asked.lane.label
        yield _line(brief)


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _brief(one: Cost | Asked) -> dict[str, Any]:
    usual = {each.name: each.default for each in fields(one)}
    return {name: value for name, value in asdict(one).items() if value != usual[name]}


def _taken(adapter: TypeAdapter[Any], line: str | bytes, number: int) -> Any:
    """What a line says. Raises Invalid."""
    try:
        return adapter.validate_json(line)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
    place = ".".join(map(str, fault["loc"]))
    match fault["type"]:
        case "json_invalid":
            told = "is no JSON object"
        case "missing":
            told = f"lacks `{place}`"
        case "unexpected_keyword_argument" | "extra_forbidden":
            told = f"`{_told(place)}` is no field of it"
        case "dataclass_type":
            told = "is no JSON object" if not place else f"`{_told(place)}` must be an object"
        case _:
            what = fault["msg"].removeprefix("Input should be ")
            told = f"`{_told(place)}` is {_told(json.dumps(fault['input']))}; it must be {what}"
    raise Invalid(f"line {number}: {told}")


def _told(text: str) -> str:
    return shorten(printable(text), _SHOWN)
