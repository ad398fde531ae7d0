"""A request of the protocol, as both HTTP and gRPC read it, to the hall and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from modelmora.errors import Code
from modelmora.gateway.doors.oip.models import find
from modelmora.gateway.doors.oip.ports import contents_of, tensors_of
from modelmora.gateway.hall import Ask, Hall
from modelmora.gateway.outcomes import Refusal
from modelmora.messages import InferenceResult, Lane, Parameter, Tensor
from modelmora.text import printable, shorten
from modelmora.wire.forms import MAX_TIMEOUT_MS

DOOR = "oip"
SHOWN = 60
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_LONGEST_ID = 1024


@dataclass(frozen=True, slots=True)
class Asked:
    """What a caller says; `outputs` are the names of those wanted, all where it is empty.

    `most_ms` is how long the call itself may take.
    """

    model: str
    version: str
    id: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...] = ()
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    most_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """What a caller is told."""

    model: str
    version: str
    id: str
    outputs: tuple[Tensor, ...]
    parameters: Mapping[str, bool | int | float | str]


async def answer(hall: Hall, asked: Asked, traceparent: str) -> Answered:
    """Run a request and wait for its outcome. Raises Refusal."""
    record = find(hall, asked.model, asked.version)
    parameters = dict(asked.parameters)
    lane = _lane(parameters.pop("priority", 0))
    timeout_ms = _timeout_ms(parameters.pop("timeout", 0), asked.most_ms)
    if len(asked.id) > _LONGEST_ID:
        raise Refusal(Code.INVALID_INPUT, f"id: has more than {_LONGEST_ID} characters")
    ask = Ask(
        DOOR,
        f"{record.name}@{record.version}" if asked.version else asked.model,
        contents_of(record.task, asked.inputs),
        parameters=parameters,
        lane=lane,
        timeout_ms=timeout_ms,
        # Clients number their requests from 1, so an `id` alone does not make two the same.
        request_id=asked.id if _UUID.fullmatch(asked.id) else None,
        traceparent=traceparent,
    )
    if not ask.inputs:
        raise Refusal(Code.INVALID_INPUT, "inputs: one at least is needed")
    result = await hall.infer(ask)
    async with hall.shelf.whole(result, hall) as whole:
        return _answered(whole, record.task, asked)


def _answered(result: InferenceResult, task: str, asked: Asked) -> Answered:
    outputs = tensors_of(task, result.outputs)
    if asked.outputs:
        named = {each.name: each for each in outputs}
        missing = [name for name in asked.outputs if name not in named]
        if missing:
            shown = shorten(printable(missing[0]), SHOWN)
            there = shorten(", ".join(map(printable, named)), SHOWN)
            message = f"outputs: there is no {shown}; the model gives {there}"
            raise Refusal(Code.INVALID_INPUT, message, request_id=result.request_id)
        outputs = tuple(named[name] for name in asked.outputs)
    told = {k: v for k, v in result.settings.items() if isinstance(v, bool | int | float | str)}
    return Answered(result.model, result.version, asked.id or result.request_id, outputs, told)


def _lane(priority: Parameter) -> Lane:
    """1 is the most urgent, 0 stands for none told, and what lies beyond 4 waits as 4 does."""
    if isinstance(priority, bool) or not isinstance(priority, int) or priority < 0:
        raise Refusal(Code.INVALID_INPUT, "priority: is a whole number, 1 the most urgent")
    return Lane(min(priority, len(Lane)) - 1) if priority else Lane.NORMAL


def _timeout_ms(timeout_us: Parameter, most_ms: int | None) -> int | None:
    """The shorter of the parameter `timeout`, in microseconds, and of what the call allows."""
    if isinstance(timeout_us, bool) or not isinstance(timeout_us, int) or timeout_us < 0:
        raise Refusal(Code.INVALID_INPUT, "timeout: is a whole number of microseconds")
    if timeout_us > MAX_TIMEOUT_MS * 1000:
        raise Refusal(Code.INVALID_INPUT, f"timeout: is {MAX_TIMEOUT_MS * 1000} at most")
    told = -(-timeout_us // 1000) or None
    return min((each for each in (told, most_ms) if each), default=None)
