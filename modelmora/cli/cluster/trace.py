"""`modelmora trace`: every record of one request over all topics, as a timeline without content."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer

from modelmora.cli.shared.options import JsonOption, finds_instance
from modelmora.cli.shared.output import clock, print_json, print_table, say
from modelmora.deadletters.letters import DeadLetter, Replay, place_text, run_of
from modelmora.errors import NotFound, Undecodable
from modelmora.host.instance import Instance
from modelmora.kafka.reading.reader import Record
from modelmora.kafka.reading.shown import Reader
from modelmora.kafka.topics import LANE_TOPICS, TIERS, Topic
from modelmora.messages import InferenceResult, ProgressEvent
from modelmora.messages.headers import GATEWAY, HANDED_ON, PRINCIPAL
from modelmora.serving import HandedOn
from modelmora.settings import Settings
from modelmora.text import duration, iso, size
from modelmora.wire import (
    decode_control,
    decode_progress,
    decode_request_head,
    decode_result,
    readable_request_id,
    time_of,
)

LOOK_BACK_MS = 5 * 60_000
"""Clocks of callers differ from the broker's by less than this."""


@dataclass(frozen=True, slots=True)
class Step:
    """One record on the way of a request; `time` in Unix ms by the broker's clock."""

    time: int
    topic: str
    place: str
    what: str


@finds_instance
def trace(
    where: Instance,
    request_id: Annotated[str, typer.Argument(metavar="REQUEST_ID", help="The request's id.")],
    json: JsonOption = False,
) -> None:
    """Follow one request over all topics: request, progress, outcome, dead letter, cancel."""
    settings = where.kafka()
    with Reader(settings, say) as reader:
        steps = steps_of(reader, settings, request_id)
    if not steps:
        raise NotFound(
            f"no topic has a record of {request_id}; requests are kept 24 h, outcomes 1 h"
        )
    if json:
        print_json([asdict(step) | {"time": iso(step.time)} for step in steps])
        return
    first = steps[0].time
    print_table(
        ("AFTER", "TOPIC", "AT", "WHAT"),
        [(duration(step.time - first), step.topic, step.place, step.what) for step in steps],
        right=("AFTER",),
        drop=("AT",),
        prose=True,
    )
    say(f"from {clock(first)}")


def steps_of(reader: Reader, settings: Settings, request_id: str) -> list[Step]:
    """All records of a request in the order of the broker's clock.

    They may lie anywhere: partitions may have been added since, and whoever sends a request may
    choose where its outcome goes. A UUIDv7 tells from when on to look.
    """
    namespace = settings.namespace
    minted = time_of(request_id)
    start = None if minted is None else minted - LOOK_BACK_MS
    topics = (*_REQUESTS, *_OTHERS)
    places = reader.places(*(topic.full(namespace) for topic in topics))
    needle = request_id.encode()
    found = [
        record
        # A command or a result may stand under another key, never without the id in its bytes.
        for record in reader.read(reader.since(places, start))
        if needle in (record.plain or b"") or (record.value is None and record.key == needle)
    ]
    steps = [step for record in found for step in _steps(record, namespace, request_id)]
    return sorted(steps, key=lambda step: (step.time, _ORDER[step.topic]))


_REQUESTS = (*LANE_TOPICS.values(), *TIERS)
_OTHERS = (Topic.RESULTS, Topic.PROGRESS, Topic.DEAD_LETTERS, Topic.CONTROL)
_ORDER = {str(topic): rank for rank, topic in enumerate((*_REQUESTS, Topic.CONTROL))} | {
    str(Topic.PROGRESS): 10,
    str(Topic.DEAD_LETTERS): 11,
    str(Topic.RESULTS): 12,
}


def _steps(record: Record, namespace: str, request_id: str) -> Iterator[Step]:
    topic = record.topic.removeprefix(f"{namespace}.")
    what = describe(topic, record, request_id)
    if what is not None:
        yield Step(record.timestamp, topic, f"{record.partition}:{record.offset}", what)


def describe(topic: str, record: Record, request_id: str) -> str | None:
    """What a record says of the request, without content; None where it is another's."""
    if topic in _REQUESTS:
        return _request(record) if readable_request_id(record.plain) == request_id else None
    if topic == Topic.DEAD_LETTERS:
        if note := Replay.of(record):
            return f"{_run(note.run)}replayed to {note.to}"
        if readable_request_id(record.plain) != request_id:
            return None
        letter = DeadLetter.of(record)
        source = place_text(letter.source)
        return f"{_run(letter.run)}{letter.code}: {letter.reason} (from {source})"
    try:
        if topic == Topic.RESULTS:
            result = decode_result(record.plain)
            return _result(result) if result.request_id == request_id else None
        if topic == Topic.PROGRESS:
            event = decode_progress(record.plain)
            return _progress(event) if event.request_id == request_id else None
        command = decode_control(record.plain)
        return f"{command.verb} by {command.principal}" if command.target == request_id else None
    except Undecodable as error:
        # Only records with the id in their bytes come here.
        return f"not readable ({error.message})"


def _run(run: int) -> str:
    """What tells a replay from the first run, which needs no word."""
    return f"run {run}: " if run > 1 else ""


def _request(record: Record) -> str:
    parts = [
        size(len(record.value or b"")),
        f"by {record.header(PRINCIPAL) or 'local'}",
    ]
    if record.header(GATEWAY):
        parts.append("through the gateway")
    if came := HandedOn.read((record.header(HANDED_ON) or "").encode()):
        parts.append(f"handed on from {came.partition}:{came.offset}")
        if came.retries:
            parts.append(f"try {came.retries + 1}")
    if trace_parent := record.header("traceparent"):
        parts.append(f"trace {trace_parent.split('-')[1] if '-' in trace_parent else trace_parent}")
    try:
        head = decode_request_head(record.plain)
    except Undecodable as error:
        return _run(run_of(record)) + ", ".join([f"broken: {error.code}", *parts])
    if head.timeout_ms is not None:
        parts.append(f"timeout {duration(head.timeout_ms)}")
    return _run(run_of(record)) + ", ".join([f"for {head.model or head.task}", *parts])


def _progress(event: ProgressEvent) -> str:
    parts: list[Any] = [event.stage.lower()]
    if event.position is not None:
        parts.append(f"{event.position} ahead")
    if event.estimate_ms is not None:
        parts.append(f"start in {duration(event.estimate_ms)}")
    if event.loading:
        parts.append("its model loads")
    return ", ".join(parts)


def _result(result: InferenceResult) -> str:
    run = _run(result.run)
    if result.error:
        return f"{run}{result.status} {result.error.code}: {result.error.message}"
    spent = result.timings
    return (
        f"{run}{result.status} by {result.model}@{result.version}: "
        f"queue {duration(spent.queue_ms)}, load {duration(spent.load_ms)}, "
        f"inference {duration(spent.inference_ms)}, total {duration(spent.total_ms)}, "
        f"attempt {result.attempt}"
    )
