"""What a program asks, as a request that goes onto a topic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from modelmora.access.signing import Signer
from modelmora.client.errors import CallError
from modelmora.client.tracing import trace_metadata
from modelmora.errors import Invalid, RequestError
from modelmora.kafka.requests import request_record
from modelmora.kafka.writing.publisher import Headers, Record
from modelmora.messages import ChatMessage, Content, InferenceRequest, Lane, Parameter, Tensor
from modelmora.messages import ObjectRef as Ref
from modelmora.messages.headers import PRINCIPAL, REPLY_PARTITION
from modelmora.settings import YEAR_S, Settings
from modelmora.settings.routes import is_free
from modelmora.text import printable, shorten

LANES = {lane.label: lane for lane in Lane}


class How(TypedDict, total=False):
    """How a request is asked, beside its model and its inputs.

    `task` is for no model but the default of a task. `priority` is critical, high, normal or low.
    The nodes give up after `timeout_s`. With `progress` its progress is told on `progress`.
    `request_id` is a UUIDv7 unless it is given, `principal` who asks (`local`). `headers` are for
    the model's route to look at.
    """

    task: str
    parameters: Mapping[str, Parameter]
    priority: str
    timeout_s: float | None
    progress: bool
    request_id: str
    principal: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, and how long it may take (s)."""

    request: InferenceRequest
    lane: Lane
    principal: str
    timeout_s: float | None
    headers: Headers = ()

    @classmethod
    def of(cls, request_id: str, model: str, inputs: Sequence[Content], how: How) -> Asked:
        """What is asked so. Raises Invalid for what no model takes."""
        if isinstance(inputs, str | bytes):
            raise Invalid("inputs: a list is needed, even for one")
        wrong = [each for each in inputs if not isinstance(each, str | bytes | Tensor | Ref)]
        if not all(isinstance(each, ChatMessage) for each in wrong):
            raise Invalid("inputs: each must be text, bytes, a Tensor, ObjectRef or ChatMessage")
        lane = LANES.get(how.get("priority", "normal"))
        if lane is None:
            raise Invalid(f"priority: one of {', '.join(LANES)} is needed")
        timeout_s = how.get("timeout_s")
        if timeout_s is not None and not 0 < timeout_s <= YEAR_S:
            raise Invalid("timeout_s: it must be more than 0 seconds and at most a year")
        for name in (told := how.get("headers", {})):
            if not is_free(name):
                shown = shorten(printable(name), 60)
                raise Invalid(f"headers: {shown!r} is none at which a route looks, as x-cohort is")
        given = (*told.items(), *trace_metadata())
        headers = tuple((name, value.encode()) for name, value in given)
        request = InferenceRequest(
            request_id,
            model,
            tuple(inputs),
            task=how.get("task"),
            parameters=how.get("parameters", {}),
            timeout_ms=None if timeout_s is None else max(1, round(timeout_s * 1000)),
            progress=how.get("progress", False),
        )
        return cls(request, lane, how.get("principal", ""), timeout_s, headers)

    def record(
        self,
        settings: Settings,
        place: int | None = None,
        partition: int | None = None,
        signer: Signer | None = None,
    ) -> Record:
        """The record, to lie at that place of its lane, and to be answered on that partition.

        Raises CallError, and Invalid where the `signer` cannot sign as its principal.
        """
        headers = self.headers
        if principal := signer.principal(self.principal) if signer else self.principal:
            headers = (*headers, (PRINCIPAL, principal.encode()))
        if partition is not None:
            headers = (*headers, (REPLY_PARTITION, str(partition).encode()))
        try:
            return request_record(self.request, self.lane, settings, headers, place, signer)
        except RequestError as error:
            raise CallError(error.code, error.message, request_id=error.request_id) from None
