"""Reading from a cluster what a trace is made of: requests and outcomes between two times."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

from modelmora.errors import Undecodable
from modelmora.kafka.reading.reader import Record
from modelmora.kafka.reading.shown import Reader
from modelmora.kafka.topics import LANE_TOPICS, Topic
from modelmora.messages import Lane
from modelmora.messages.headers import HANDED_ON, PROBE, principal_of
from modelmora.records import Registry
from modelmora.records.measured import of_model
from modelmora.settings import Settings
from modelmora.simulate.record import Outcome, Request
from modelmora.simulate.trace import Cost
from modelmora.wire import decode_registry, decode_request_head, decode_result


class Seen(NamedTuple):
    """What was asked, how it ended, and what nodes have measured of models: for `record`."""

    requests: list[Request]
    outcomes: list[Outcome]
    known: dict[str, Cost]


def seen(settings: Settings, span: tuple[int, int], say: Callable[[str], None]) -> Seen:
    """What was asked from one time to another (Unix ms). Raises what Reader does."""
    lanes = {topic.full(settings.namespace): lane for lane, topic in LANE_TOPICS.items()}
    with Reader(settings, say) as reader:
        requests = [*_requests(reader, lanes, span)]
        outcomes = [*_outcomes(reader, Topic.RESULTS.full(settings.namespace), span[0])]
        registry = _registry(reader, Topic.REGISTRY.full(settings.namespace))
    return Seen(requests, outcomes, costs_of(registry))


def costs_of(registry: Registry) -> dict[str, Cost]:
    """What nodes have measured of models: the largest memory, the longest load."""
    found: dict[str, Cost] = {}
    for key in {entry.record.key for entry in registry.measured()}:
        measured = [each for _, each in of_model(registry, key)]
        most = [max(taken.most) for each in measured for taken in each.devices.values()]
        loads = [each.load_ms for each in measured if each.load_ms is not None]
        load_s = max(loads) / 1000 if loads else None
        found["@".join(key)] = Cost(load_s=load_s, bytes=max(most, default=0) or None)
    return found


def _requests(
    reader: Reader, lanes: Mapping[str, Lane], span: tuple[int, int]
) -> Iterator[Request]:
    for found in _since(reader, span[0], *lanes):
        # What was handed on lies there a second time, behind its first record.
        if found.timestamp >= span[1] or found.header(HANDED_ON) or found.header(PROBE):
            continue
        with suppress(Undecodable):
            yield Request(
                (found.topic, found.partition, found.offset),
                found.timestamp,
                lanes[found.topic],
                len(found.value or b""),
                principal_of(found.headers),
                decode_request_head(found.plain),
            )


def _outcomes(reader: Reader, topic: str, since_ms: int) -> Iterator[Outcome]:
    for found in _since(reader, since_ms, topic):
        if found.header(PROBE):
            continue
        with suppress(Undecodable):
            result = decode_result(found.plain)
            source = result.source
            place = (source.topic, source.partition, source.offset)
            model = f"{result.model}@{result.version}" if result.model else ""
            yield Outcome(place, model, result.status, result.timings)


def _since(reader: Reader, since_ms: int, *topics: str) -> Iterator[Record]:
    return reader.read(reader.since(reader.places(*topics), since_ms))


def _registry(reader: Reader, topic: str) -> Registry:
    found = Registry()
    for each in reader.read(reader.since(reader.places(topic), None)):
        with suppress(Undecodable):
            value = decode_registry(each.plain) if each.plain is not None else None
            found.take(each.key or b"", value, each.offset)
    return found
