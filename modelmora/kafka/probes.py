"""A record on a lane that only asks whether it arrives: answered where it is read."""

from __future__ import annotations

from modelmora.access.signing import Signer, Verifier
from modelmora.kafka.requests import nothing
from modelmora.kafka.writing.publisher import Headers, Record
from modelmora.messages import InferenceRequest
from modelmora.messages.headers import PROBE, REPLY_PARTITION, header_of
from modelmora.wire import encode_request, time_of
from modelmora.wire.handed import Placed

MODEL = "modelmora-probe"
"""No model: a node that knows of no probes refuses it, and leaves a dead letter."""
LIFE_MS = 60_000
_PREFIX = f"{MODEL}-"


def probe_record(
    new_id: str, place: tuple[str, int], reply: int, signer: Signer | None = None
) -> Record:
    """The record for a topic's partition, answered on a partition of `results`.

    Its key is its id, which no request has: so nobody can have a request of others answered so.
    """
    topic, partition = place
    request_id = _PREFIX + new_id
    value = encode_request(InferenceRequest(request_id, MODEL, (), timeout_ms=LIFE_MS))
    headers: Headers = ((PROBE, _where(topic, partition)), (REPLY_PARTITION, b"%d" % reply))
    if signer:
        headers = (*headers, signer.probe(headers, request_id))
    record = Record(topic, request_id.encode(), value, nothing, headers, partition)
    record.as_is = True
    return record


def asks_only(record: Placed) -> bool:
    """Whether a record says that it is such a one."""
    return any(name == PROBE for name, _ in record.headers)


def is_probe(record: Placed, request_id: str, verifier: Verifier) -> bool:
    """Whether it is, put there by a gateway as far as proofs are asked for."""
    here, made_ms = _where(record.topic, record.partition), time_of(request_id[len(_PREFIX) :])
    is_named = request_id.startswith(_PREFIX) and header_of(record.headers, PROBE) == here
    if made_ms is None or not is_named:
        return False
    return verifier.is_probe(record.headers, request_id, made_ms, record.timestamp)


def _where(topic: str, partition: int) -> bytes:
    return f"{partition} {topic}".encode()
