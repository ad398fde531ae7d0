"""A request for a model that this node lacks: where it is handed on to, or why it is not."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import replace
from typing import Protocol

from modelmora.access.signing import Signer
from modelmora.agents.partitions.intake import Intake
from modelmora.errors import Code, RequestError
from modelmora.kafka.leases import Leases
from modelmora.kafka.writing.publisher import Headers
from modelmora.messages import RequestHead, Timings
from modelmora.messages.headers import HANDED_ON_SIGNATURE
from modelmora.scheduling import ModelKey
from modelmora.serving import Incoming
from modelmora.serving.request import read_at
from modelmora.wire import partition_of
from modelmora.wire.handed import HandedOn

MOST_HOPS = 3


def elsewhere(
    head: RequestHead,
    hops: int,
    leases: Leases,
    own: Set[int],
    unknown: RequestError,
    *,
    node: str = "",
) -> int | RequestError:
    """The partition of its lane to hand the request on to, or why it ends here.

    `hops`: how often it was handed on before; `own`: the partitions of the lane that are read
    here; `unknown`: what a node says that is alone; `node`: this one, whose lease may say still
    what was true a moment ago.

    (1) No other node has the model, nor had it until a moment ago.
    (2) It is handed on a few times only: placement may change faster than it is told.
    (3) Of the partitions of the nodes that have it, always the same one for an id.
    """
    nodes = [each for each in leases.living() if each.node != node and each.has(head)]
    # (1)
    if not nodes:
        lapsed = (each for each in leases.lapsed() if each.node != node)
        gone = next((each for each in lapsed if each.has(head)), None)
        if gone is None:
            return unknown
        message = f"{head.model or head.task} was served by node {gone.node}, which is gone"
        return RequestError(Code.MODEL_UNAVAILABLE, message, retry_after_ms=gone.lease_ms)
    # (2)
    if hops >= MOST_HOPS:
        message = f"handed on {hops} times, and no node that read it serves {head.model}"
        return RequestError(Code.CANNOT_BE_SERVED, message)
    # (3)
    found = sorted({number for each in nodes for number in each.partitions} - own)
    if not found:
        message = f"node {nodes[0].node} serves {head.model}, and reads no partition now"
        return RequestError(Code.MODEL_UNAVAILABLE, message, retry_after_ms=1000)
    return found[partition_of(head.request_id.encode(), len(found))]


def headers_on(request: Incoming, told: HandedOn, signer: Signer | None) -> Headers:
    """The headers with which a request is handed on: its own, and what a node says of it."""
    record, ours = request.record, (told.header(), read_at(request.record))
    replaced = {*dict(ours), HANDED_ON_SIGNATURE}
    headers = (*(each for each in record.headers if each[0] not in replaced), *ours)
    return (*headers, signer.handed_on(headers, request.head.request_id)) if signer else headers


class Writer(Protocol):
    """Writes the record anew, or its outcome; see `modelmora.agents.results`."""

    def hand_on(
        self,
        request: Incoming,
        to: tuple[str, int],
        told: HandedOn,
        otherwise: Callable[[], None],
    ) -> None:
        """Write it there; `otherwise` gives its outcome where it is not taken."""

    def failed(
        self,
        request: Incoming,
        model: ModelKey,
        error: RequestError,
        timings: Timings,
        attempt: int,
    ) -> None:
        """Its outcome."""


class HandOn:
    """The service's way out for requests that it does not serve; see `elsewhere`."""

    def __init__(
        self,
        leases: Leases,
        intake: Intake,
        writer: Writer,
        node: str = "",
        meant: Callable[[Incoming], str] = lambda _: "",
    ) -> None:
        """`meant` tells the name@version that a request means, "" where the node cannot say."""
        self._meant = meant
        self._leases = leases
        self._intake = intake
        self._writer = writer
        self._node = node
        self.count = 0
        """How many were handed on."""

    def is_elsewhere(self, model: str) -> bool:
        """Whether another node that runs serves name@version."""
        return any(
            each.node != self._node and model in each.serves for each in self._leases.living()
        )

    def __call__(self, request: Incoming, unknown: RequestError) -> RequestError | None:
        """Hand the request on; why it is to be refused here where that cannot be."""
        hops = request.handed_on.hops if request.handed_on else 0
        lane = request.source.topic
        own = {number for topic, number in self._intake.partitions() if topic == lane}
        head = request.head
        head = replace(head, model=self._meant(request) or head.model)
        found = elsewhere(head, hops, self._leases, own, unknown, node=self._node)
        if isinstance(found, RequestError):
            return found
        self.count += 1
        self._writer.hand_on(
            request,
            (lane, found),
            request.to_hand_on(hops=1),
            lambda: self._writer.failed(request, ("", ""), unknown, Timings(), 1),
        )
        return None
