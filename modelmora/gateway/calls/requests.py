"""A caller's request as the record that goes onto its topic."""

from __future__ import annotations

from modelmora.access.signing import Signer
from modelmora.errors import RequestError
from modelmora.gateway.caller import said
from modelmora.gateway.hall import Ask
from modelmora.gateway.outcomes import Refusal
from modelmora.kafka.pulse import Pulse
from modelmora.kafka.requests import request_record
from modelmora.kafka.topics import LANE_TOPICS
from modelmora.kafka.writing.publisher import Headers, Record
from modelmora.messages import InferenceRequest
from modelmora.messages.headers import GATEWAY, PRINCIPAL, TRACEPARENT
from modelmora.records import Registry
from modelmora.settings import Settings
from modelmora.wire import content_digest, decode_request_head

MOST_HEADER = 256
"""Characters of a header that go with a request."""


class Requests:
    """Makes the records; `state` is the registry as it is read here, and places them."""

    def __init__(
        self,
        settings: Settings,
        gateway_id: str,
        state: Registry,
        pulse: Pulse,
        signer: Signer | None = None,
    ) -> None:
        self._settings = settings
        self._gateway_id = gateway_id
        self._state = state
        self._pulse = pulse
        self._signer = signer

    def record(self, request_id: str, ask: Ask) -> Record:
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
            (GATEWAY, self._gateway_id.encode()),
            (PRINCIPAL, ask.principal.encode()),
            (TRACEPARENT, ask.traceparent.encode()),
            *self._looked_at(ask),
        )
        topic = LANE_TOPICS[ask.lane].full(self._settings.namespace)
        shape = self._pulse.shapes.get(topic)
        place = self._state.place(ask.model, request_id, shape.partitions if shape else 0)
        try:
            settings, signer = self._settings, self._signer
            record = request_record(request, ask.lane, settings, headers, place, signer)
        except RequestError as error:
            raise Refusal(error.code, error.message, request_id=request_id) from None
        if signer:
            record.headers = (*record.headers, signer.of_gateway(record.headers, request_id))
        ask.course.on_record(record)
        return record

    def _looked_at(self, ask: Ask) -> Headers:
        """Of the caller's headers those that the model's route looks at, and no others."""
        names = sorted(self._state.route_headers(ask.model.partition("@")[0]))
        told = [(name, said(ask.headers, name)) for name in names]
        return tuple((name, _as_text(value)) for name, value in told if value is not None)


def _as_text(value: str) -> bytes:
    """A header of HTTP, read as Latin-1, as one of Kafka, which is UTF-8.

    Nearly all write UTF-8; who does not writes Latin-1.
    """
    raw = value.encode("latin-1", "replace")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = value
    return text[:MOST_HEADER].encode()


def content_of(record: Record, principal: str) -> str:
    """What the record asks, as nodes see it; see `wire.content_digest`."""
    value = record.value or b""
    return content_digest(principal, decode_request_head(value), value)
