"""The names of the headers of our records, for those who write them and those who read them."""

from collections.abc import Iterable

PRINCIPAL = "modelmora-principal"
LOCAL = "local"
"""The principal of who need not say who they are; a record without one is theirs."""
MOST_PRINCIPAL = 256
"""Characters of a principal that count: it goes with all that is told of a request."""
SIGNATURE = "modelmora-signature"
"""Of a request or a command: that its principal is who wrote it, see `modelmora.access.signing`;
of a record of the audit: its writer's signature of the value (Ed25519)."""
HANDED_ON_SIGNATURE = "modelmora-handed-on-signature"
"""Of a request that was handed on: that a node has done so."""
GATEWAY = "modelmora-gateway"
GATEWAY_SIGNATURE = "modelmora-gateway-signature"
"""Of a request: that a gateway has written it."""
JOB = "modelmora-job"
"""Of a request for which nobody waits: what becomes of it is kept on `jobs`."""
OR_BUSY = "modelmora-or-busy"
"""Of a request: it is refused at once where it is not expected to start in its time."""
REPLY_PARTITION = "modelmora-reply-partition"
HANDED_ON = "modelmora-handed-on"
TRACEPARENT = "traceparent"
CONTENT_TYPE = "content-type"
REQUEST_ID = "modelmora-request-id"
"""The id of a request in JSON that holds none."""
RUN = "modelmora-run"
"""Which run of its id a request is."""

REPLY_TOPIC = "kafka_replyTopic"
REPLY_TO_PARTITION = "kafka_replyPartition"
CORRELATION_ID = "kafka_correlationId"
"""Those of Spring for Apache Kafka (`KafkaHeaders`): where else to answer, and to what."""

CONTENT = "modelmora-content"
"""Of an outcome: what was asked, see `wire.content_digest`."""
ASKED_SINCE = "modelmora-asked-since"
"""Of a request: its sender has seen that its id was not asked before then (Unix ms)."""

ERROR_CODE = "modelmora-error-code"
READ_AT = "modelmora-read-at"

CONNECT = "__connect.errors."
"""What Kafka Connect's names for the context of a dead letter begin with (KIP-298)."""
ATTEMPT = "modelmora-attempt"
EXIT_CODE = "modelmora-worker-exit-code"
SHA256 = "modelmora-sha256"
SIZE = "modelmora-size"
MADE = "modelmora-made"
"""Of a dead letter whose id holds no time: when its request was first appended (Unix ms)."""
REPLAY_OF = "modelmora-replay-of"
REPLAYED_TO = "modelmora-replayed-to"
PURGE_OF = "modelmora-purge-of"

SHADOW_OF = "modelmora-shadow-of"
"""Of a copy of a request, and of its outcome: the request's own id."""
COMPARISON = "modelmora-comparison"
"""Of both: the comparison that they are made for."""
LIVE = "live"
"""The comparison of what nodes copy, as a route says, while requests come."""
SHADOW_SIGNATURE = "modelmora-shadow-signature"
"""Of a copy: that a node has made it."""

PROBE = "modelmora-probe"
"""Of a record on a lane that only asks whether it arrives, and of the answer: where it was put."""
PROBE_SIGNATURE = "modelmora-probe-signature"
"""Of the former: that a gateway has written it."""

DTYPE = "modelmora-dtype"
SHAPE = "modelmora-shape"
"""What the bytes of a tensor are, where they are all of an answer over HTTP."""


class NewTrace(str):
    """A `traceparent` that was begun here, since its caller has begun none."""

    __slots__ = ()


def principal_of(headers: Iterable[tuple[str, bytes | None]]) -> str:
    """Whose request a record is, or tells of; of several that are named the last."""
    return claimed_principal(headers) or LOCAL


def claimed_principal(headers: Iterable[tuple[str, bytes | None]]) -> str:
    """The principal that a record names, "" where it names none."""
    return (header_of(headers, PRINCIPAL) or b"").decode(errors="replace")[:MOST_PRINCIPAL]


def header_of(headers: Iterable[tuple[str, bytes | None]], wanted: str) -> bytes | None:
    """The value of a header, of several of that name the last; None where there is none."""
    told = None
    for name, value in headers:
        if name == wanted:
            told = value
    return told


def is_awaited(headers: Iterable[tuple[str, bytes | None]]) -> bool:
    """Whether a gateway's caller waits for the request's outcome; of a replay nobody does."""
    names = {name for name, _ in headers}
    return GATEWAY in names and not names & {JOB, RUN}
