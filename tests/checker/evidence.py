"""What the checker judges: plain values read from the topics and from the producer's file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple


class Place(NamedTuple):
    """Where a record lies."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


Partition = tuple[str, int]


def digest(value: bytes | None) -> str | None:
    """The sha256 of a record's key or value, hexadecimal; None stands for null."""
    return None if value is None else hashlib.sha256(value).hexdigest()


@dataclass(frozen=True, slots=True)
class Expected:
    """One line of the producer's file; `place` is known only where no id can be read."""

    request_id: str
    topic: str
    sha256: str | None
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A record of a request topic; `request_id` is empty where none can be read.

    `origin` is where a record that was handed on was first appended; `run` is above 1 where it is
    the replay of a dead letter; `told` says that a caller waits for it at a gateway; `before` is
    where it was read when it was handed on, and `retries` how often a failure was the reason.
    """

    place: Place
    request_id: str
    key: bytes | None
    sha256: str | None
    origin: Place | None = None
    run: int = 1
    told: bool = False
    before: Place | None = None
    retries: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """A record of `results`, lying at `at`; `code` is empty when there was no error.

    `appended` is the broker's clock, in seconds. `again`: what may pass stood in its way, and its
    caller was told when to ask again.
    """

    at: Place
    request_id: str
    status: str
    code: str
    source: Place
    appended: float = 0.0
    run: int = 1
    again: bool = False


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record of `dead-letters`; `source` is None where its headers do not tell.

    One that is `cut` holds the beginning of its record and no key, and says the record's digest.
    """

    at: Place
    source: Place | None
    code: str
    key: bytes | None
    sha256: str | None
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """Committed offsets of the request topics, then the end offsets of the outcome topics.

    In this order: whatever the commits passed must lie below these ends. A commit that is new here
    was made between `after`, when the look before began, and `at` (seconds).
    """

    committed: Mapping[Partition, int]
    ends: Mapping[Partition, int]
    after: float = field(default=0.0, compare=False)
    at: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class Fault:
    """A crash, or a freeze that may lose partitions, which began `at` (seconds).

    `started` is how many requests may have been started, and not ended, on all that it hit.
    """

    what: str
    at: float
    started: int


@dataclass(frozen=True, slots=True)
class Told:
    """What a caller of the gateway was told, `at` a time in seconds.

    `code` is the error's, empty for a result, None where there was no answer or a wrong one;
    `what` says it in words. `request_id` is empty where the gateway named none.
    """

    request_id: str
    code: str | None
    what: str
    at: float


class Delivery(StrEnum):
    """What the nodes promise to those who read committed outcomes."""

    AT_LEAST_ONCE = "at_least_once"
    EXACTLY_ONCE = "exactly_once"


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is judged; `faults` None means that repeats at least once are only counted."""

    expected: tuple[Expected, ...]
    requests: tuple[Request, ...]
    outcomes: tuple[Outcome, ...]
    dead_letters: tuple[DeadLetter, ...]
    samples: tuple[Sample, ...] = ()
    faults: tuple[Fault, ...] | None = None
    told: tuple[Told, ...] = ()
    delivery: Delivery = Delivery.AT_LEAST_ONCE


def read_ids(path: Path) -> tuple[Expected, ...]:
    """The producer's file: one JSON object a line."""
    return tuple(_expected(json.loads(line)) for line in path.read_text().splitlines() if line)


def _expected(line: Mapping[str, str | int | None]) -> Expected:
    topic, sha256 = str(line["topic"]), line["sha256"]
    place = None
    if "offset" in line:
        place = Place(topic, int(line["partition"] or 0), int(line["offset"] or 0))
    return Expected(str(line["request_id"]), topic, None if sha256 is None else str(sha256), place)
