"""Options that many verbs have, and the settings they make."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modelmora.settings import Settings, load_settings

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings file (modelmora.yaml if it is there)."),
]
DataDirOption = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="FOLDER", help="Data folder (.modelmora)."),
]
ServersOption = Annotated[
    str | None,
    typer.Option(
        "--bootstrap-servers",
        metavar="HOST:PORT",
        help="The Kafka cluster (that of the running instance).",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def settings_of(
    config: Path | None, data_dir: Path | None, bootstrap_servers: str | None = None
) -> Settings:
    """The settings of a verb that has only the common options."""
    return load_settings(config, data_dir=data_dir, bootstrap_servers=bootstrap_servers)
