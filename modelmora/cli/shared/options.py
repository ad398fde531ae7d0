"""Options that many verbs have, and the instance that they name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from modelmora.cli.shared.output import say, waiting
from modelmora.host.instance import Talk, find

PANEL = "Which instance"

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Settings file (modelmora.yaml if it is there).",
        rich_help_panel=PANEL,
    ),
]
DataDirOption = Annotated[
    str | None,
    typer.Option(
        "--data-dir",
        metavar="FOLDER",
        help="Data folder (.modelmora).",
        rich_help_panel=PANEL,
    ),
]
ServersOption = Annotated[
    str | None,
    typer.Option(
        "--bootstrap-servers",
        metavar="HOST:PORT",
        help="The Kafka cluster (that of the instance).",
        rich_help_panel=PANEL,
    ),
]
NamespaceOption = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        metavar="NAME",
        help="Prefix of topics (that of the instance).",
        rich_help_panel=PANEL,
    ),
]
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="HOST:PORT",
        help="The gateway or node to ask (that of the instance).",
        rich_help_panel=PANEL,
    ),
]
PORTS = "0 = any free one"
RoleOption = Annotated[
    Literal["all", "node", "gateway"] | None,
    typer.Option(metavar="ROLE", help="What to run here: all, node or gateway (all)."),
]
OwnServersOption = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="The Kafka cluster; with none, --role all starts a broker of its own.",
    ),
]
HostOption = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="Where to listen (127.0.0.1).")
]
InsecureOption = Annotated[
    bool,
    typer.Option(
        "--insecure-bind",
        help="Listen beyond this machine without TLS, or for anyone: a proxy or the network "
        "sees to that.",
    ),
]
HttpPortOption = Annotated[int | None, typer.Option(metavar="PORT", help=f"REST (8080); {PORTS}.")]
GrpcPortOption = Annotated[int | None, typer.Option(metavar="PORT", help=f"gRPC (9090); {PORTS}.")]
NodePortOption = Annotated[
    int | None,
    typer.Option(metavar="PORT", help=f"Health and metrics of the node (8081); {PORTS}."),
]
BrokerPortOption = Annotated[
    int | None, typer.Option(metavar="PORT", help="The own broker (9092 if free).")
]
OwnNamespaceOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Prefix of topics and group (modelmora).")
]
ThreadsOption = Annotated[
    int | None, typer.Option(metavar="N", help="CPU threads of all models together (all).")
]
DynamicOption = Annotated[
    bool,
    typer.Option(
        "--dynamic-member", help="No lasting name in the group, for nodes that come and go."
    ),
]
LockedOption = Annotated[
    bool, typer.Option("--locked", help="Load exactly what the lock file names.")
]
DetachOption = Annotated[
    bool, typer.Option("--detach", "-d", help="Go on in the background once it is ready.")
]
TestingOption = Annotated[
    bool, typer.Option("--testing", help="Serve echo, sleep, crash, hang and oom too.")
]
ParametersOption = Annotated[
    list[str] | None,
    typer.Option("--param", metavar="KEY=VALUE", help="A parameter; may be repeated."),
]
HeadersOption = Annotated[
    list[str] | None,
    typer.Option(
        "--header", metavar="NAME=VALUE", help="A header for the route to look at; may be repeated."
    ),
]
PriorityOption = Annotated[
    Literal["critical", "high", "normal", "low"],
    typer.Option(metavar="LANE", help="critical, high, normal or low."),
]
PatienceOption = Annotated[
    float | None, typer.Option(metavar="SECONDS", help="Give up after this long.")
]
AllOption = Annotated[
    bool,
    typer.Option("--all", "-a", help="Of all nodes of the cluster; so too with its address."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_COMMON = {
    "namespace": NamespaceOption,
    "bootstrap_servers": ServersOption,
    "data_dir": DataDirOption,
    "url": UrlOption,
    "config": ConfigOption,
}


def finds_instance(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb the options that name an instance; it gets what they find as `where`."""

    @functools.wraps(verb)
    def command(**given: Any) -> Any:
        named = {name: given.pop(name) for name in _COMMON}
        # Once: many requests go to the same door.
        talk = Talk(functools.cache(say), waiting)
        return verb(where=find(**named, talk=talk), **given)

    own = inspect.signature(verb, eval_str=True).parameters.values()
    common = [
        inspect.Parameter(
            name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=option
        )
        for name, option in _COMMON.items()
    ]
    taken = [*(one for one in own if one.name not in ("where", "json")), *common]
    taken += [one for one in own if one.name == "json"]
    shown = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in taken]
    command.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in shown}
    return command
