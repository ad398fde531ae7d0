"""Reading the evidence from a cluster with confluent-kafka and fastavro, nothing of our own."""

from __future__ import annotations

import json
import re
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_INVALID,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec
from fastavro import parse_schema, schemaless_reader

from tests.checker.evidence import (
    DeadLetter,
    Delivery,
    Evidence,
    Expected,
    Fault,
    Outcome,
    Partition,
    Place,
    Request,
    Sample,
    Told,
    digest,
)
from tests.single_object import header

LANES = ("critical", "high", "normal", "low")
SCHEMAS = Path(__file__).parents[2] / "schemas"
WAIT_S = 15.0

Found = TypeVar("Found")


def _versions(name: str) -> dict[bytes, Any]:
    history = json.loads((SCHEMAS / "history.json").read_text())[name]
    return {header(schema): parse_schema(schema) for schema in history}


REQUESTS = _versions("inference_request")
NEWEST = [*REQUESTS.values()][-1]
RESULTS = _versions("inference_result")
PASSING = frozenset(("retries_spent", "store_unavailable"))


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it lies in a topic; header values are bytes, None where null."""

    place: Place
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes | None]
    timestamp: int


def request_topics(namespace: str) -> list[str]:
    """The full names of the lanes, and of where requests are put off to."""
    names = (*(f"requests.{lane}" for lane in LANES), "retry.30s", "retry.5m")
    return [f"{namespace}.{name}" for name in names]


def outcome_topics(namespace: str) -> list[str]:
    """The full names of the topics where requests end."""
    return [f"{namespace}.results", f"{namespace}.dead-letters"]


class Cluster:
    """Offsets of one cluster: what a group has committed, where topics end. Close it.

    A consumer asks for the commits: librdkafka 2.16's admin call crashes the process when the
    group's coordinator is just starting.
    """

    def __init__(self, servers: str, group: str = "checker") -> None:
        config = {"bootstrap.servers": servers, "log_level": 0}
        self._admin = AdminClient(config)
        self._consumer = Consumer(config | {"group.id": group, "enable.auto.commit": False})

    def partitions(self, topics: Iterable[str]) -> list[TopicPartition]:
        """Every partition of those topics that exist. Raises KafkaException."""
        known = self._admin.list_topics(timeout=WAIT_S).topics
        return [
            TopicPartition(topic, number)
            for topic in topics
            if topic in known
            for number in known[topic].partitions
        ]

    def ends(self, topics: Iterable[str], *, committed: bool = False) -> dict[Partition, int]:
        """Where every partition ends, or what is committed of it. Raises KafkaException."""
        levels = (IsolationLevel.READ_UNCOMMITTED, IsolationLevel.READ_COMMITTED)
        wanted = {partition: OffsetSpec.latest() for partition in self.partitions(topics)}
        if not wanted:
            return {}
        asked: dict[TopicPartition, Future[Any]] = self._admin.list_offsets(
            wanted, request_timeout=WAIT_S, isolation_level=levels[committed]
        )
        ends = {(tp.topic, tp.partition): f.result(WAIT_S).offset for tp, f in asked.items()}
        # librdkafka says so, and not by an error, when its broker dies meanwhile.
        if OFFSET_INVALID in ends.values():
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return ends

    def committed(self, topics: Iterable[str]) -> dict[Partition, int]:
        """What the group has committed; nothing where it has not. Raises KafkaException."""
        wanted = self.partitions(topics)
        found = self._consumer.committed(wanted, WAIT_S) if wanted else []
        return {(tp.topic, tp.partition): tp.offset for tp in found if tp.offset >= 0}

    def all_committed(self, namespace: str) -> bool:
        """Whether every request there is lies below its commit. Raises KafkaException."""
        topics = request_topics(namespace)
        ends, committed = self.ends(topics), self.committed(topics)
        return bool(ends) and all(committed.get(p, 0) >= end for p, end in ends.items())

    def sample(self, namespace: str, after: float = 0.0) -> Sample:
        """One sample, commits first; the look before began at `after`. Raises KafkaException."""
        committed = self.committed(request_topics(namespace))
        # An outcome in a transaction lies there before its commit can be seen.
        ends = self.ends(outcome_topics(namespace))
        return Sample(committed, ends, after, time.time())

    def close(self) -> None:
        """Leave the cluster."""
        self._consumer.close()


def arrived(consumer: Consumer, within_s: float) -> list[Message]:
    """What has come, as soon as anything has; `consume` waits for all it was asked for."""
    return [*consumer.consume(1, within_s), *consumer.consume(1000, 0)]


def read_records(servers: str, topics: Iterable[str]) -> Iterator[Record]:
    """Every committed record from the beginning to where each partition ends now."""
    wanted = list(topics)
    with closing(Cluster(servers)) as cluster:
        found = _patiently(lambda: cluster.ends(wanted, committed=True))
    ends = {partition: end for partition, end in found.items() if end}
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "checker",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            # An end is told by an empty answer, for which the broker waits so long.
            "fetch.wait.max.ms": 50,
            "auto.offset.reset": "earliest",
            "log_level": 0,
        }
    )
    try:
        consumer.assign([TopicPartition(*p, OFFSET_BEGINNING) for p in ends])
        while ends:
            for message in arrived(consumer, 0.1):
                partition = (message.topic(), message.partition())
                error = message.error()
                reached = message.offset()
                if error is None:
                    reached += 1
                    if reached <= ends.get(partition, 0):
                        yield _record(message)
                elif error.code() != KafkaError._PARTITION_EOF:
                    if error.retriable():
                        continue
                    raise KafkaException(error)
                if reached >= ends.get(partition, reached + 1):
                    del ends[partition]
    finally:
        consumer.close()


def _await_ends(cluster: Cluster, topics: Iterable[str]) -> None:
    """Wait until nothing of a transaction is open on these topics, or for long enough."""
    wanted = list(topics)
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        if _patiently(lambda: cluster.ends(wanted) == cluster.ends(wanted, committed=True)):
            return
        time.sleep(0.1)


def _patiently(ask: Callable[[], Found]) -> Found:
    """Ask until a broker that has just started knows its leaders and coordinators."""
    until = time.monotonic() + WAIT_S
    while True:
        try:
            return ask()
        except KafkaException:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def _record(message: Message) -> Record:
    return Record(
        Place(message.topic(), message.partition(), message.offset()),
        message.key(),
        message.value(),
        dict(message.headers() or ()),
        message.timestamp()[1],
    )


def readable_id(value: bytes | None) -> str:
    """The id of a request record; empty unless it is whole under a released fingerprint.

    What comes in a schema registry's framing has the newest schema.
    """
    value = value or b""
    framed = value[:1] == b"\0"
    schema = NEWEST if framed else REQUESTS.get(value[:10])
    if schema is None:
        return ""
    first = {**schema, "fields": schema["fields"][:1]}
    try:
        return str(_read(value, first, 5 if framed else 10)["request_id"])
    except (EOFError, ValueError, IndexError, struct.error):
        return ""


def _read(value: bytes, schema: Any, begins: int = 10) -> dict[str, Any]:
    stream = BytesIO(value)
    stream.seek(begins)
    datum: Any = schemaless_reader(stream, schema, None)
    return dict(datum)


def as_request(record: Record) -> Request:
    """A record of a request topic."""
    came = (record.headers.get("modelmora-handed-on") or b"").decode(errors="replace").split(" ")
    origin = Place(came[4], int(came[1]), int(came[2])) if len(came) == 6 else None
    left = (record.headers.get("modelmora-read-at") or b"").decode(errors="replace").split(" ")
    before = Place(left[2], int(left[0]), int(left[1])) if origin and len(left) == 3 else None
    retries = int(came[5]) if origin else 0
    request_id = readable_id(record.value)
    named = record.headers.get("modelmora-run") or b""
    run = int(named) if re.fullmatch(rb"\d{1,10}", named) and 0 < int(named) < 1 << 31 else 1
    told = "modelmora-gateway" in record.headers and "modelmora-run" not in record.headers
    content = record.key, digest(record.value)
    return Request(record.place, request_id, *content, origin, run, told, before, retries)


def as_outcome(record: Record) -> Outcome:
    """A record of `results`; whatever cannot be read there is a fault of ours, so this raises."""
    value = record.value or b""
    datum = _read(value, RESULTS[value[:10]])
    error, source = datum["error"], datum["source"]
    return Outcome(
        record.place,
        datum["request_id"],
        datum["status"],
        error["code"] if error else "",
        Place(source["topic"], source["partition"], source["offset"]),
        record.timestamp / 1000,
        datum.get("run", 1),
        bool(error) and error["code"] in PASSING and error.get("retry_after_ms") is not None,
    )


def is_note(record: Record) -> bool:
    """Whether a record of `dead-letters` is no letter, but says what became of one."""
    notes = {"modelmora-replay-of", "modelmora-purge-of"}
    return bool(notes & record.headers.keys()) and "modelmora-error-code" not in record.headers


def as_dead_letter(record: Record) -> DeadLetter:
    """A record of `dead-letters`."""
    text = {name: (value or b"").decode(errors="replace") for name, value in record.headers.items()}
    try:
        source = Place(
            text["__connect.errors.topic"],
            int(text["__connect.errors.partition"]),
            int(text["__connect.errors.offset"]),
        )
    except (KeyError, ValueError):
        source = None
    code, whole = text.get("modelmora-error-code", ""), text.get("modelmora-size", "")
    cut = whole.isdecimal() and int(whole) > len(record.value or b"")
    sha256 = text.get("modelmora-sha256") if cut else digest(record.value)
    return DeadLetter(record.place, source, code, record.key, sha256, cut)


def gather(
    servers: str,
    group: str,
    namespace: str,
    expected: tuple[Expected, ...],
    *,
    samples: tuple[Sample, ...] = (),
    faults: tuple[Fault, ...] | None = None,
    told: tuple[Told, ...] = (),
    delivery: Delivery = Delivery.AT_LEAST_ONCE,
) -> Evidence:
    """All evidence that can be read as committed now, one more sample included.

    Of exactly-once delivery after a while for the broker to end transactions: commits may be seen
    before the outcomes that belong to them. Raises KafkaException.
    """
    results, dead_letters = outcome_topics(namespace)
    with closing(Cluster(servers, group)) as cluster:
        last = _patiently(lambda: cluster.sample(namespace))
        if delivery is Delivery.EXACTLY_ONCE:
            _await_ends(cluster, (results, dead_letters))
    return Evidence(
        expected,
        tuple(map(as_request, read_records(servers, request_topics(namespace)))),
        tuple(map(as_outcome, read_records(servers, [results]))),
        tuple(as_dead_letter(r) for r in read_records(servers, [dead_letters]) if not is_note(r)),
        (*samples, last),
        faults,
        told,
        delivery,
    )
