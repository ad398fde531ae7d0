"""Options that many verbs have, and the instance that they name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

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
