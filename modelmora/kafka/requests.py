"""A request as the record that goes onto its topic."""

from __future__ import annotations

from modelmora.access.signing import Signer
from modelmora.errors import Code, RequestError
from modelmora.kafka.topics import LANE_TOPICS
from modelmora.kafka.writing.publisher import Answer, Headers, Record
from modelmora.messages import InferenceRequest, Lane
from modelmora.messages.headers import principal_of
from modelmora.settings import Settings
from modelmora.wire import content_digest, decode_request_head, encode_request


def request_record(
    request: InferenceRequest,
    lane: Lane,
    settings: Settings,
    headers: Headers,
    partition: int | None = None,
    signer: Signer | None = None,
) -> Record:
    """The record, keyed by the model's name, so that one node gets all that ask for it.

    It goes onto `partition` where the registry places it, see `records.Registry.place`. With a
    `signer` it is signed as that of the principal in its headers.

    Raises RequestError: `too_large`, or `invalid_input` where a value fits into no request.
    """
    try:
        key = request.model.partition("@")[0].encode()
        value = encode_request(request)
    except ValueError:
        raise RequestError(
            Code.INVALID_INPUT,
            "a value does not fit into a request",
            request_id=request.request_id,
        ) from None
    limit = settings.limits.request_bytes
    if len(value) > limit:
        raise RequestError(
            Code.TOO_LARGE,
            f"the request is {len(value)} bytes as a record and {limit} are allowed "
            "(limits.request_bytes); send its inputs in several requests",
            request_id=request.request_id,
        )
    if signer:
        head = decode_request_head(value)
        content = content_digest(principal_of(headers), head, value)
        headers = (*headers, signer.request(headers, head, lane, content))
    return Record(
        LANE_TOPICS[lane].full(settings.namespace), key, value, nothing, headers, partition
    )


def nothing(_answer: Answer) -> None:
    """Nobody waits for this acknowledgement."""
