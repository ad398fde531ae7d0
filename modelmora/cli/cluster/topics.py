"""`modelmora topics`: which there are, making those that are missing, and who may do what there."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata
from typing import Annotated, Any

import typer
import yaml

from modelmora.cli.shared.options import JsonOption, finds_instance
from modelmora.cli.shared.output import print_json, print_table, say, tell
from modelmora.errors import NotFound
from modelmora.host.instance import Instance
from modelmora.kafka.aclforms import Form, Rights, kafka_acls, rpk, strimzi
from modelmora.kafka.acls import Component, Grant, grants
from modelmora.kafka.admin import Admin, TopicState
from modelmora.kafka.asyncapi import document
from modelmora.kafka.reading.shown import Reader
from modelmora.kafka.topics import TABLE, Topic, spec_of
from modelmora.settings import Settings
from modelmora.text import counted, duration

app = typer.Typer(help="Topics: list, create, describe, acls, asyncapi.", no_args_is_help=True)
FIRST = (Component.NODE, Component.GATEWAY, Component.CLIENT)


@app.command("list")
@finds_instance
def list_topics(where: Instance, json: JsonOption = False) -> None:
    """List the topics of the namespace, and what is not as it should be."""
    settings = where.kafka()
    _print(Admin(settings).describe(), settings, json=json)


@app.command("create")
@finds_instance
def create_topics(where: Instance, json: JsonOption = False) -> int:
    """Create the topics that are missing; those that exist are left as they are."""
    settings = where.kafka()
    admin = Admin(settings)
    missing = {state.topic for state in admin.describe() if not state.exists}
    states = admin.create() if missing else admin.describe()
    _print(states, settings, json=json, created=missing)
    say(f"{len(missing)} created, {len(states) - len(missing)} were there")
    differing = [state.name for state in states if state.differs]
    if differing:
        say(f"not as they should be: {', '.join(differing)}; see `modelmora topics describe`")
    return 1 if differing else 0


@app.command("asyncapi")
@finds_instance
def asyncapi(where: Instance, json: JsonOption = False) -> None:
    """Print the AsyncAPI 3.0 document of the topics, their messages and headers; asks no broker."""
    made = document(where.settings.namespace, metadata.version("modelmora"))
    if json:
        print_json(made)
    else:
        for line in yaml.safe_dump(made, sort_keys=False).splitlines():
            tell(line)


@app.command("acls")
@finds_instance
def acls(
    where: Instance,
    component: Annotated[
        list[Component] | None,
        typer.Argument(metavar="COMPONENT", help="Of whom (node, gateway and client)."),
    ] = None,
    form: Annotated[
        Form, typer.Option(metavar="TOOL", help="For kafka-acls, rpk or strimzi.")
    ] = "kafka-acls",
    principal: Annotated[
        str | None,
        typer.Option(metavar="User:NAME", help="Of all of them (User:<namespace>-<component>)."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Print the least rights on the cluster that components need; asks no broker.

    Components are node, gateway, client (produce, and the Python client over Kafka), and the
    verbs that speak to Kafka. Printed for settings as they are: topics.create,
    delivery and reply_topics make a difference.
    """
    settings = where.settings
    rights: dict[str, dict[Grant, None]] = {}
    for each in component or FIRST:
        who = principal or f"User:{settings.namespace}-{each}"
        rights.setdefault(who, {}).update(dict.fromkeys(grants(each, settings)))
    if json:
        print_json([_grant(who, each) for who, granted in rights.items() for each in granted])
        return
    for line in _lines(form, {who: [*granted] for who, granted in rights.items()}, settings):
        tell(line)


def _lines(form: Form, rights: Rights, settings: Settings) -> Iterable[str]:
    if form == "strimzi":
        kind = "tls" if settings.kafka.security_protocol == "SSL" else "scram-sha-512"
        users = yaml.safe_dump_all(strimzi(rights, kind), sort_keys=False, explicit_start=True)
        return users.splitlines()
    return rpk(rights) if form == "rpk" else kafka_acls(rights)


def _grant(principal: str, grant: Grant) -> dict[str, Any]:
    return {
        "principal": principal,
        "operation": grant.operation,
        "resource": grant.resource,
        "name": grant.name,
        "pattern": "prefixed" if grant.prefixed else "literal",
    }


@app.command("describe")
@finds_instance
def describe_topics(
    where: Instance,
    topic: Annotated[
        list[str] | None, typer.Argument(metavar="TOPIC", help="Full or short names (all).")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Describe topics: what they hold, for how long, how much, and what differs."""
    settings = where.kafka()
    known = {str(t): t for t in TABLE} | {t.full(settings.namespace): t for t in TABLE}
    for name in topic or ():
        if name not in known:
            raise NotFound(
                f"{name} is no topic of {settings.namespace}; see `modelmora topics list`"
            )
    wanted = {known[name] for name in topic} if topic else set(TABLE)
    states = [state for state in Admin(settings).describe() if state.topic in wanted]
    with Reader(settings) as reader:
        described = [describe(state, held(reader, state), settings) for state in states]
    if json:
        print_json(described)
        return
    for row in described:
        _print_description(row)


def held(reader: Reader, state: TopicState) -> int | None:
    """How many offsets a topic holds; of a compacted one fewer records may be left."""
    if not state.exists:
        return None
    bounds = [reader.bounds((state.name, number)) for number in range(state.partitions)]
    return sum(high - low for low, high in bounds)


def describe(state: TopicState, records: int | None, settings: Settings) -> dict[str, Any]:
    """A topic as `--json` tells it."""
    spec = spec_of(state.topic, settings)
    return {
        "name": state.name,
        "exists": state.exists,
        "partitions": state.partitions,
        "records": records,
        "key": spec.key,
        "value": spec.value,
        "retention_ms": spec.retention_ms,
        "content": spec.content,
        "config": spec.broker_config(),
        "differs": list(state.differs),
    }


def _print_description(row: dict[str, Any]) -> None:
    kept = "compacted" if row["retention_ms"] is None else duration(row["retention_ms"])
    content = "content of callers" if row["content"] else "no content"
    tell(row["name"])
    if row["exists"]:
        shape = f"{counted(row['partitions'], 'partition')}, {counted(row['records'], 'record')}"
        tell(f"  {shape}, {kept}, {content}")
    tell(f"  key {row['key']}, value {row['value']}")
    tell(f"  {', '.join(f'{key}={value}' for key, value in row['config'].items())}")
    for fault in row["differs"]:
        tell(f"  differs: {fault}")


def _print(
    states: list[TopicState],
    settings: Settings,
    *,
    json: bool,
    created: set[Topic] | frozenset[Topic] = frozenset(),
) -> None:
    if json:
        print_json(
            [
                {
                    "name": state.name,
                    "exists": state.exists,
                    "partitions": state.partitions,
                    "created": state.topic in created,
                    "differs": list(state.differs),
                }
                for state in states
            ]
        )
        return
    print_table(
        ("TOPIC", "PARTITIONS", "KEPT", "STATE"),
        [
            (s.name, s.partitions or None, _kept(s, settings), _state(s, s.topic in created))
            for s in states
        ],
        right=("PARTITIONS",),
        drop=("KEPT",),
        prose=True,
    )


def _kept(state: TopicState, settings: Settings) -> str:
    retention = spec_of(state.topic, settings).retention_ms
    return "compacted" if retention is None else duration(retention)


def _state(state: TopicState, created: bool) -> str:
    if state.differs:
        return "; ".join(state.differs)
    return "created" if created else "ok"
