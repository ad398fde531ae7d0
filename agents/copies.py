"""What goes with an outcome: it in JSON, a reply where who asked wants one, a job's note."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import NamedTuple

import structlog

from modelmora.kafka.sizes import MOST_RESULT_BYTES
from modelmora.kafka.topics import Topic
from modelmora.kafka.writing.publisher import Answer, Refused, TooLarge, Written
from modelmora.kafka.writing.publisher import Record as Outgoing
from modelmora.messages import JobRecord, ResultHead
from modelmora.messages.headers import (
    CORRELATION_ID,
    JOB,
    LOCAL,
    PRINCIPAL,
    REPLY_TO_PARTITION,
    REPLY_TOPIC,
    principal_of,
)
from modelmora.serving import Record
from modelmora.text import printable, shorten
from modelmora.wire import encode_job
from modelmora.wire.plainjson import is_json, write_json_result

log = structlog.get_logger(__name__)
Headers = tuple[tuple[str, bytes], ...]
MOST_TOPICS = 1_000
"""The client library never forgets a topic, so a pattern must not mean any number of them."""
REST_S = 60.0
"""How long a topic that refused a record is not tried again: in a transaction that aborts all."""
_TOPIC = re.compile(rb"(?!\.\.?$)[A-Za-z0-9._-]{1,249}")


class Why(StrEnum):
    """Why an outcome was not written to the reply topic as well."""

    MALFORMED = "malformed"
    NOT_ALLOWED = "not_allowed"
    TOO_MANY = "too_many"
    REFUSED = "refused"


class ReplyTo(NamedTuple):
    """Where a sender awaits its outcome, and what tells it which one it is."""

    topic: str
    partition: int | None
    correlation: bytes | None


def reply_to(record: Record) -> ReplyTo | None:
    """What the reply headers of Spring for Apache Kafka say; None where there are none.

    The topic's name, its partition as a big-endian int32, and opaque bytes; of headers with one
    name the last counts, as there. Raises ValueError where they cannot be meant so.
    """
    told = dict(record.headers)
    if REPLY_TOPIC not in told:
        return None
    name, place = told[REPLY_TOPIC] or b"", told.get(REPLY_TO_PARTITION)
    if not _TOPIC.fullmatch(name):
        raise ValueError(f"no topic has the name {shorten(printable(name), 80)!r}")
    if place is not None and (len(place) != 4 or place[0] > 0x7F):
        raise ValueError(f"{REPLY_TO_PARTITION} is no partition as a big-endian int32")
    partition = None if place is None else int.from_bytes(place, "big")
    return ReplyTo(name.decode(), partition, told.get(CORRELATION_ID))


class Copies:
    """Makes the copies of each outcome, and knows which reply topics take none for now."""

    def __init__(
        self,
        namespace: str,
        allowed: Sequence[str] = (),
        on_lost: Callable[[Why], None] = lambda _: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`allowed` are names of reply topics, with `*` for any run of characters.

        The topics of the namespace itself are never meant: an outcome there would be taken for
        something else. `on_lost` is told of each reply that is not written.
        """
        self._results = Topic.RESULTS.full(namespace)
        self._results_json = Topic.RESULTS_JSON.full(namespace)
        self._jobs = Topic.JOBS.full(namespace)
        self._allowed = allowed
        self._on_lost = on_lost
        self._now = now
        self._own = {topic.full(namespace) for topic in Topic}
        self._known: set[str] = set()
        self._resting: dict[str, float] = {}
        self._said: set[tuple[Why, str]] = set()

    def of(
        self, record: Record, head: ResultHead, value: bytes, headers: Headers
    ) -> tuple[Outgoing, ...]:
        """What is to be written before the outcome, whose Avro is `value`, for who sent `record`.

        `headers` are the outcome's, which say whose it is.
        JSON where the request was, the reply in the form that the request had, and of a job that
        it has ended.
        """
        key, form = head.request_id.encode(), value
        made: list[Outgoing] = []
        if in_json := is_json(record.value, record.headers):
            form = write_json_result(head, value, MOST_RESULT_BYTES, self._results)
            made.append(Outgoing(self._results_json, key, form, nobody, as_is=True))
        if to := self._reply_to(record):
            if to.correlation is not None:
                headers = (*headers, (CORRELATION_ID, to.correlation))
            reply = Outgoing(to.topic, key, form, nobody, headers, to.partition, optional=True)
            reply.as_is = in_json
            made.append(reply)
        if any(name == JOB for name, _ in record.headers):
            principal, now_ms = principal_of(headers), time.time_ns() // 1_000_000
            note = encode_job(JobRecord.ended(head, principal, now_ms))
            made.append(Outgoing(self._jobs, key, note, nobody, optional=True))
        return tuple(made)

    def answered(self, topic: str, answer: Answer) -> bool:
        """What became of a copy; returns whether its topic does not take it."""
        if isinstance(answer, Written):
            self._said.discard((Why.REFUSED, topic))
        if not isinstance(answer, TooLarge | Refused):
            return False
        if topic in self._own:
            log.error("what goes with an outcome was refused", topic=topic)
            return True
        if isinstance(answer, Refused):
            self._resting[topic] = self._now() + REST_S
        self._lost(Why.REFUSED, topic, getattr(answer, "reason", "the record is too large for it"))
        return True

    def _reply_to(self, record: Record) -> ReplyTo | None:
        try:
            to = reply_to(record)
        except ValueError as error:
            self._lost(Why.MALFORMED, "", str(error))
            return None
        if to is None or self._may_have(to.topic):
            return to
        return None

    def _may_have(self, topic: str) -> bool:
        if topic not in self._known:
            if topic in self._own or not any(fnmatchcase(topic, each) for each in self._allowed):
                self._lost(Why.NOT_ALLOWED, topic, "see the setting reply_topics")
                return False
            if len(self._known) >= MOST_TOPICS:
                self._lost(Why.TOO_MANY, topic, f"this node has replied on {MOST_TOPICS:,} others")
                return False
            self._known.add(topic)
        if self._resting.get(topic, 0.0) <= self._now():
            return True
        self._on_lost(Why.REFUSED)
        return False

    def _lost(self, why: Why, topic: str, reason: str) -> None:
        """The outcome stands on `results` only: counted each time, logged once."""
        self._on_lost(why)
        if (why, topic) not in self._said and len(self._said) < MOST_TOPICS:
            self._said.add((why, topic))
            log.warning("no reply", why=why.value, topic=topic, reason=reason)


def whose(principal: str) -> Headers:
    """Whose request it is, said of all that is told of it; nothing for those who need not say."""
    return () if principal == LOCAL else ((PRINCIPAL, principal.encode()),)


def nobody(answer: Answer) -> None:
    """Nobody is told yet."""
