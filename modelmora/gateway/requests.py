"""A caller's request as the record that goes onto its topic."""

from __future__ import annotations

from modelmora.errors import Code
from modelmora.gateway.hall import Ask
from modelmora.gateway.outcomes import Refusal
from modelmora.kafka.topics import LANE_TOPICS
from modelmora.kafka.writing.publisher import Answer, Record
from modelmora.messages import InferenceRequest
from modelmora.messages.headers import GATEWAY, PRINCIPAL, TRACEPARENT
from modelmora.settings import Settings
from modelmora.wire import encode_request


def record_of(request_id: str, ask: Ask, settings: Settings, gateway_id: str) -> Record:
    """The record. Raises Refusal where it would be too large, or a value fits into none."""
    request = InferenceRequest(
        request_id,
        ask.model,
        ask.inputs,
        parameters=ask.parameters,
        timeout_ms=ask.timeout_ms,
        progress=ask.progress,
    )
    try:
        value = encode_request(request)
    except ValueError:
        raise Refusal(
            Code.INVALID_INPUT, "a value does not fit into a request", request_id=request_id
        ) from None
    limit = settings.limits.request_bytes
    if len(value) > limit:
        raise Refusal(
            Code.TOO_LARGE,
            f"the request is {len(value)} bytes as a record and {limit} are allowed "
            "(limits.request_bytes); send its inputs in several requests",
            request_id=request_id,
        )
    return Record(
        LANE_TOPICS[ask.lane].full(settings.namespace),
        ask.model.partition("@")[0].encode(),
        value,
        nothing,
        (
            (GATEWAY, gateway_id.encode()),
            (PRINCIPAL, ask.principal.encode()),
            (TRACEPARENT, ask.traceparent.encode()),
        ),
    )


def nothing(_answer: Answer) -> None:
    """Nobody waits for this acknowledgement."""
