"""`modelmora groups`: who reads the lanes, how far they are, which node has which model."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from modelmora.cli.options import (
    ConfigOption,
    DataDirOption,
    JsonOption,
    ServersOption,
    settings_of,
)
from modelmora.cli.output import node_name, print_json, print_table, say
from modelmora.diagnostics.groups import Group, Groups, pace_line
from modelmora.host.instance import connected
from modelmora.messages import Lane
from modelmora.text import counted

app = typer.Typer(help="Consumer groups: list, describe.", no_args_is_help=True)


@app.command("list")
def list_groups(
    bootstrap_servers: ServersOption = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """List the consumer groups of the cluster."""
    names = Groups(connected(settings_of(config, data_dir, bootstrap_servers))).names()
    if json:
        print_json([{"name": name, "state": state} for name, state in names])
    else:
        print_table(("GROUP", "STATE"), names)


@app.command("describe")
def describe_group(
    group: Annotated[
        str | None, typer.Argument(metavar="GROUP", help="The group (that of the nodes).")
    ] = None,
    bootstrap_servers: ServersOption = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Describe a group: its members, who has each partition and model, and what waits."""
    settings = connected(settings_of(config, data_dir, bootstrap_servers))
    told = Groups(settings).describe(group or settings.group)
    if json:
        print_json(_as_json(told))
        return
    print_table(
        ("MEMBER", "HOST", "PARTITIONS"),
        [(node_name(m.id), m.host, len(m.places) or "standby") for m in told.members],
        right=("PARTITIONS",),
    )
    typer.echo("")
    print_table(
        ("PART", *(lane.name for lane in Lane), "OWNER", "MODELS"),
        [
            (
                share.partition,
                *(share.lag.get(lane.label) for lane in Lane),
                share.owner and ", ".join(map(node_name, share.owner.split(", "))),
                " ".join(share.models) or None,
            )
            for share in told.shares
        ],
        right=("PART", *(lane.name for lane in Lane)),
    )
    waiting = sum(lag or 0 for share in told.shares for lag in share.lag.values())
    behind = counted(waiting, "record")
    say(f"{told.name} is {told.state}; {behind} behind (- = nothing committed yet)")
    say(pace_line(told.protocol, told.session_ms, told.heartbeat_ms))


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
        "partitions": [asdict(share) for share in group.shares],
    }
