"""A request as it lies on its lane, and the copies that its route asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from modelmora.access.rights import TOPIC
from modelmora.access.signing import Signer, Verifier
from modelmora.agents.arrivals import Arrivals
from modelmora.agents.copies import Headers, nobody
from modelmora.errors import Undecodable
from modelmora.kafka.schema_registry import Schemas
from modelmora.kafka.topics import Topic, lane_topics
from modelmora.kafka.writing.publisher import Record as Outgoing
from modelmora.messages import InferenceRequest, Lane
from modelmora.messages.headers import (
    COMPARISON,
    HANDED_ON,
    LIVE,
    LOCAL,
    PRINCIPAL,
    RUN,
    SHADOW_OF,
    TRACEPARENT,
)
from modelmora.routing import Steps, may_be_copied, shadows
from modelmora.scheduling import ModelKey
from modelmora.serving import Incoming, Record
from modelmora.settings import Settings
from modelmora.wire import (
    content_digest,
    decode_request,
    decode_request_head,
    encode_request,
    readable_request_id,
)
from modelmora.wire.handed import first_place
from modelmora.wire.ids import shadow_id
from modelmora.wire.plainjson import encode_json, is_json

Forbids = Callable[[Incoming, ModelKey], str | None]
_AGAIN = {HANDED_ON, RUN}
"""Of these there was a first record, which is copied."""


class Copying:
    """Makes copies of what may be asked by who asks it."""

    def __init__(
        self,
        settings: Settings,
        verifier: Verifier,
        signer: Signer | None,
        forbids: Forbids,
        schemas: Schemas | None = None,
    ) -> None:
        """`forbids` says why a request may not be asked of a model; None: it may."""
        self._topic = Topic.SHADOW.full(settings.namespace)
        self._most = settings.limits.request_bytes
        self._arrivals = Arrivals(lane_topics(settings), verifier)
        self._signer = signer
        self._forbids = forbids
        self._schemas = schemas

    def of(self, record: Record, routes: Mapping[str, Steps]) -> list[Outgoing]:
        """The copies of a record on a lane; what is no request has none."""
        names = {name for name, _ in record.headers}
        if not record.value or len(record.value) > self._most or names & _AGAIN:
            return []
        try:
            return [*self._copies(record, routes)]
        except (Undecodable, ValueError):  # its node says what is wrong with it
            return []

    def _copies(self, record: Record, routes: Mapping[str, Steps]) -> Iterator[Outgoing]:
        plain = self._plain(record)
        name = (record.key or b"").decode()
        if plain is None or (
            name in routes and not may_be_copied(routes[name], readable_request_id(plain))
        ):
            return
        head = decode_request_head(plain)
        steps = routes.get(head.model, ())
        if not steps or not head.request_id:
            return
        request = self._arrivals.request(record, head, plain)
        for version in shadows(head.model, steps, request):
            key = head.model, version
            if not request.forged and not self._forbids(request, key):
                yield self._copy(request, key, decode_request(plain))

    def _plain(self, record: Record) -> bytes | None:
        """The value in single-object encoding; None where its schema is not known yet."""
        value = record.value or b""
        if is_json(value, record.headers):
            return encode_json(value, record.key, record.headers, *first_place(record))
        return self._schemas.plain(value) if self._schemas else value

    def _copy(self, request: Incoming, key: ModelKey, whole: InferenceRequest) -> Outgoing:
        """It asks the same of the version, as the same principal, and to be told nothing."""
        name, version = key
        request_id = shadow_id(request.request_id, version)
        copy = replace(whole, request_id=request_id, model=f"{name}@{version}", progress=False)
        value = encode_request(copy)
        headers: Headers = ((SHADOW_OF, request.request_id.encode()), (COMPARISON, LIVE.encode()))
        if request.traceparent:
            headers = (*headers, (TRACEPARENT, request.traceparent.encode()))
        if self._signer or request.principal != LOCAL:
            headers = (*headers, (PRINCIPAL, request.principal.encode()))
        if self._signer:
            headers = self._signed(self._signer, headers, request.principal, value)
        return Outgoing(self._topic, name.encode(), value, nobody, headers, optional=True)

    def _signed(self, signer: Signer, headers: Headers, principal: str, value: bytes) -> Headers:
        head = decode_request_head(value)
        if not principal.startswith(TOPIC):  # which proves nothing, and need not
            content = content_digest(principal, head, value)
            headers = (*headers, signer.request(headers, head, Lane.LOW, content))
        return (*headers, signer.copied(headers, head.request_id))
