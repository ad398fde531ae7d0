"""A caller's request as the record that goes onto its topic."""

from __future__ import annotations

from modelmora.errors import RequestError
from modelmora.gateway.hall import Ask
from modelmora.gateway.outcomes import Refusal
from modelmora.kafka.requests import request_record
from modelmora.kafka.writing.publisher import Record
from modelmora.messages import InferenceRequest
from modelmora.messages.headers import GATEWAY, PRINCIPAL, TRACEPARENT
from modelmora.settings import Settings
from modelmora.wire import content_digest, decode_request_head


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
    headers = (
        (GATEWAY, gateway_id.encode()),
        (PRINCIPAL, ask.principal.encode()),
        (TRACEPARENT, ask.traceparent.encode()),
    )
    try:
        return request_record(request, ask.lane, settings, headers)
    except RequestError as error:
        raise Refusal(error.code, error.message, request_id=request_id) from None


def content_of(record: Record, principal: str) -> str:
    """What the record asks, as nodes see it; see `wire.content_digest`."""
    value = record.value or b""
    return content_digest(principal, decode_request_head(value), value)
