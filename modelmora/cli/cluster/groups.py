"""`modelmora groups`: who reads what, how far they are, which node has which model."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated, Any

import typer

from modelmora.cli.shared.agreeing import agreed
from modelmora.cli.shared.audit import audited
from modelmora.cli.shared.options import JsonOption, finds_instance
from modelmora.cli.shared.output import node_name, print_json, print_table, say, tell
from modelmora.deadletters.letters import since_ms
from modelmora.diagnostics.groups import Group, Groups, pace_line
from modelmora.host.instance import Instance
from modelmora.kafka.reading.offsets import EARLIEST, LATEST, plan, reset
from modelmora.messages import Lane
from modelmora.text import counted

app = typer.Typer(help="Consumer groups: list, describe, reset.", no_args_is_help=True)


@app.command("list")
@finds_instance
def list_groups(
    where: Instance,
    json: JsonOption = False,
) -> None:
    """List the consumer groups of the cluster."""
    names = Groups(where.kafka()).names()
    if json:
        print_json([{"name": name, "state": state} for name, state in names])
    else:
        print_table(("GROUP", "STATE"), names)


@app.command("describe")
@finds_instance
def describe_group(
    where: Instance,
    group: Annotated[
        str | None, typer.Argument(metavar="GROUP", help="The group (that of the nodes).")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Describe any group: its members, who has each partition, how far it is behind.

    Of the group of the nodes: also which models live where, and what waits in each lane.
    """
    settings = where.kafka()
    told = Groups(settings).describe(group or settings.group)
    if json:
        print_json(_as_json(told))
        return
    print_table(
        ("MEMBER", "HOST", "PARTITIONS"),
        [(node_name(m.id), m.host, len(m.places) or "standby") for m in told.members],
        right=("PARTITIONS",),
        drop=("HOST",),
    )
    tell()
    _print_shares(told) if told.shares else _print_readings(told)
    waiting = sum(each.lag or 0 for each in told.readings)
    behind = counted(waiting, "record")
    say(f"{told.name} is {told.state}; {behind} behind (- = nothing committed yet)")
    say(pace_line(told.protocol, told.session_ms, told.heartbeat_ms))


@app.command("reset")
@finds_instance
def reset_group(
    where: Instance,
    group: Annotated[str, typer.Argument(metavar="GROUP", help="The group.")],
    to: Annotated[
        str,
        typer.Option(
            "--to", metavar="WHERE", help="earliest, latest, an offset, a span (2h) or a time."
        ),
    ],
    topic: Annotated[
        str | None,
        typer.Option("--topic", metavar="TOPIC", help="Only this one, by its full name."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")] = False,
    json: JsonOption = False,
) -> int:
    """Have a group without members read on from elsewhere.

    What lies behind that place is read again, what lies before it never. In the group of the nodes
    these are requests: one that has an outcome may get another, one that is passed over gets none.
    """
    settings = where.kafka()
    aim = _aim(to)
    offsets = plan(settings, group, aim, topic)
    rows = [(*place, offset) for place, offset in sorted(offsets.items())]
    if json:
        print_json([dict(zip(("topic", "partition", "offset"), row, strict=True)) for row in rows])
    else:
        print_table(("TOPIC", "PART", "OFFSET"), rows, right=("PART", "OFFSET"))
    told = counted(len(rows), "partition")
    if not agreed(f"have {group} read {told} from there?", yes=yes):
        say("nothing was done")
        return 1
    audited(settings, "groups reset", f"{group} --to {to}", partitions=len(rows))
    reset(settings, group, offsets)
    say(f"{group} reads {told} on from there")
    return 0


def _aim(to: str) -> str | int:
    """What `--to` says, a time as `at:` and Unix ms. Raises ConfigurationError."""
    if to in (EARLIEST, LATEST):
        return to
    if to.isdecimal():
        return int(to)
    return f"at:{since_ms(to, time.time_ns() // 1_000_000, '--to')}"


def _print_readings(told: Group) -> None:
    print_table(
        ("TOPIC", "PART", "COMMITTED", "END", "LAG", "MEMBER"),
        [
            (r.topic, r.partition, r.committed, r.end, r.lag, r.owner and _nodes(r.owner))
            for r in told.readings
        ],
        right=("PART", "COMMITTED", "END", "LAG"),
    )


def _print_shares(told: Group) -> None:
    print_table(
        ("PART", *(lane.name for lane in Lane), "OWNER", "MODELS"),
        [
            (
                share.partition,
                *(share.lag.get(lane.label) for lane in Lane),
                share.owner and _nodes(share.owner),
                " ".join(share.models) or None,
            )
            for share in told.shares
        ],
        right=("PART", *(lane.name for lane in Lane)),
    )


def _nodes(owner: str) -> str:
    return ", ".join(map(node_name, owner.split(", ")))


def _as_json(group: Group) -> dict[str, Any]:
    return {
        "name": group.name,
        "state": group.state,
        "protocol": group.protocol,
        "session_ms": group.session_ms,
        "heartbeat_ms": group.heartbeat_ms,
        "members": [
            {
                "id": m.id,
                "host": m.host,
                "standby": not m.places,
                "partitions": [f"{t}:{p}" for t, p in sorted(m.places)],
            }
            for m in group.members
        ],
        "reads": [asdict(reading) for reading in group.readings],
        "partitions": [asdict(share) for share in group.shares],
    }
