"""`modelmora events`: what happened to models and nodes."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from modelmora.cli.shared.options import JsonOption, finds_instance
from modelmora.cli.shared.output import clock, node_name, print_json, print_table, say, tell
from modelmora.errors import Undecodable
from modelmora.host.instance import Instance
from modelmora.kafka.reading.reader import Record
from modelmora.kafka.reading.shown import Reader
from modelmora.kafka.topics import Topic
from modelmora.text import facts_line
from modelmora.wire import decode_event

ATTRIBUTE = "ce_"
UNSEEN = {"digest", "public_key", "signature"}
"""Facts for programs, which `--json` shows."""


@finds_instance
def events(
    where: Instance,
    last: Annotated[
        int, typer.Option("--last", metavar="N", min=0, help="The newest so many.")
    ] = 50,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what happens, until Ctrl-C.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Show the events of models and nodes, oldest first (CloudEvents on the events topic)."""
    settings = where.kafka()
    with Reader(settings, say) as reader:
        places = reader.places(Topic.EVENTS.full(settings.namespace))
        ends = reader.ends(places)
        found = list(reader.read(reader.newest(places, last))) if last else []
        told = [as_json(record) for record in sorted(found, key=lambda r: r.timestamp)][-last:]
        if not follow:
            _print(told, json=json)
            return
        for event in told:
            _print_line(event, json=json)
        for record in reader.follow(ends):
            if record:
                _print_line(as_json(record), json=json)


def as_json(record: Record) -> dict[str, Any]:
    """An event with its CloudEvents attributes (Kafka binding 1.0, binary mode)."""
    attributes = {
        name.removeprefix(ATTRIBUTE): (value or b"").decode("utf-8", "replace")
        for name, value in record.headers
        if name.startswith(ATTRIBUTE)
    }
    told: dict[str, Any] = {
        "id": attributes.get("id"),
        "type": attributes.get("type"),
        "source": attributes.get("source"),
        "time": record.timestamp,
        "place": record.place,
    }
    try:
        event = decode_event(record.plain)
    except Undecodable as error:
        return told | {"fault": error.message}
    return told | {
        "kind": str(event.kind),
        "model": event.model,
        "version": event.version,
        "node": event.node,
        "facts": dict(event.facts),
    }


def _cells(event: dict[str, Any]) -> tuple[str, str, str, str]:
    model = (
        f"{event['model']}@{event['version']}"
        if event.get("model")
        else node_name(event.get("node", ""))
    )
    kind = event.get("kind") or f"not readable: {event.get('fault')}"
    facts = {name: fact for name, fact in event.get("facts", {}).items() if name not in UNSEEN}
    return clock(event["time"]), kind, model, facts_line(facts)


def _print(told: list[dict[str, Any]], *, json: bool) -> None:
    if json:
        print_json(told)
    else:
        print_table(
            ("TIME", "EVENT", "MODEL OR NODE", "FACTS"),
            [_cells(event) for event in told],
            prose=True,
        )


def _print_line(event: dict[str, Any], *, json: bool) -> None:
    if json:
        print_json(event, line=True)
    else:
        when, kind, model, facts = _cells(event)
        tell(f"{when}  {kind:<14} {model}  {facts}".rstrip())
