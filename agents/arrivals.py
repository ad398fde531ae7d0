"""A decoded record as a request: what its headers say of it, and whose it is proved to be."""

from __future__ import annotations

from collections.abc import Mapping

from modelmora.access.signing import Verifier
from modelmora.messages import Lane, RequestHead
from modelmora.messages.headers import (
    ASKED_SINCE,
    COMPARISON,
    GATEWAY,
    HANDED_ON,
    JOB,
    OR_BUSY,
    RUN,
    SHADOW_OF,
    TRACEPARENT,
)
from modelmora.serving import CopyOf, HandedOn, Incoming, Record
from modelmora.wire import content_digest, read_run


class Arrivals:
    """Makes the requests of the records that have come on these topics."""

    def __init__(self, lanes: Mapping[str, Lane], verifier: Verifier, shadow: str = "") -> None:
        """`shadow` is the topic of the copies."""
        self._lanes = lanes
        self._shadow = shadow
        self._verifier = verifier

    def unproved(self, record: Record) -> str:
        """Whose a record is of which nothing can be proved."""
        return self._verifier.unproved(record.headers)

    def request(self, record: Record, head: RequestHead, plain: bytes) -> Incoming:
        """The request of a record, whose value in single-object encoding is `plain`."""
        request = self._described(record, head)
        if plain is not record.value:
            request.value = plain

        def content(principal: str) -> str:
            request.content = content_digest(principal, head, plain)
            return request.content

        who = self._verifier.of_request(record.headers, head, request.lane, content)
        request.principal, request.forged = who
        # Of a signature that does not hold it was made in the name that was claimed.
        if request.forged or not request.content:
            content(request.principal)
        return request

    def _described(self, record: Record, head: RequestHead) -> Incoming:
        lane = self._lanes.get(record.topic, Lane.LOW)
        if not record.headers:
            return Incoming(record, head, lane, tell=head.progress)
        headers = dict(record.headers)
        copies = record.topic == self._shadow
        handed_on = HandedOn.read(headers.get(HANDED_ON))
        if handed_on and not (
            (handed_on.topic == self._shadow if copies else handed_on.topic in self._lanes)
            and self._verifier.was_handed_on(record.headers, head.request_id)
        ):
            handed_on = None
        if copies:
            copy = self._copy_of(record, headers, head.request_id)
            return Incoming(record, head, lane, handed_on=handed_on, copy=copy)
        return Incoming(
            record,
            head,
            self._lanes[handed_on.topic] if handed_on else lane,
            gateway=text_of(headers.get(GATEWAY)),
            asked_since=_number(headers.get(ASKED_SINCE)),
            traceparent=text_of(headers.get(TRACEPARENT)),
            tell=head.progress or GATEWAY in headers,
            or_busy=OR_BUSY in headers,
            job=JOB in headers,
            handed_on=handed_on,
            run=read_run(headers.get(RUN)),
        )

    def _copy_of(
        self, record: Record, headers: Mapping[str, bytes | None], request_id: str
    ) -> CopyOf | None:
        original, comparison = text_of(headers.get(SHADOW_OF)), text_of(headers.get(COMPARISON))
        if not original or not comparison:
            return None
        return CopyOf(original, comparison, self._verifier.was_copied(record.headers, request_id))


def text_of(value: bytes | None) -> str:
    """A header as text, cut to what a name or an id may have."""
    return value.decode("utf-8", "replace")[:256] if value else ""


def _number(value: bytes | None) -> int | None:
    return int(value) if value and len(value) < 16 and value.isdigit() else None
