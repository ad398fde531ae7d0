"""`modelmora backup` and `restore`: the registry in a file, and out of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from modelmora.cli.shared.agreeing import agreed
from modelmora.cli.shared.audit import audited
from modelmora.cli.shared.options import JsonOption, finds_instance
from modelmora.cli.shared.output import print_json, say
from modelmora.diagnostics.nodes import read_registry
from modelmora.errors import ConfigurationError, Invalid, ModelMoraError
from modelmora.host.instance import Instance
from modelmora.kafka.reading.shown import Reader
from modelmora.kafka.requests import nothing
from modelmora.kafka.topics import Topic
from modelmora.kafka.writing.outbox import Record
from modelmora.kafka.writing.straight import write
from modelmora.messages import RegistryRecord
from modelmora.records.backup import Backup, Plan, lines, planned
from modelmora.records.state import Registry
from modelmora.records.telling import key_of, named
from modelmora.registry.files import write_atomically
from modelmora.settings import Settings
from modelmora.text import counted, shorten
from modelmora.wire import encode_registry

PRIVATE = 0o600
NOT_ALL = 1
SHOWN = 200
FileArgument = Annotated[Path, typer.Argument(metavar="FILE", dir_okay=False)]


@finds_instance
def backup(where: Instance, file: FileArgument, json: JsonOption = False) -> None:
    """Write what the registry holds to a file: models, routes, defaults, roles, budgets.

    A file of that name is replaced once the new one is whole. It holds no keys and no secrets.
    """
    settings = where.kafka()
    registry = _registry(settings)
    told = [*lines(registry, settings.namespace, _now_ms())]
    if len(told) == 1:
        raise ModelMoraError(f"the registry of {settings.namespace} holds nothing to keep")
    _replace(file, "".join(f"{line}\n" for line in told))
    if json:
        print_json({"file": str(file), "records": len(told) - 1})
    say(f"{counted(len(told) - 1, 'record')} of {settings.namespace} in {file}")


@finds_instance
def restore(
    where: Instance,
    file: FileArgument,
    replace: Annotated[
        bool, typer.Option("--replace", help="Write over what the registry tells otherwise.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: JsonOption = False,
) -> int:
    """Write to the registry what a backup has and it lacks.

    What it tells otherwise stays, unless --replace is given; what came since stays in any case.
    """
    settings = where.kafka()
    kept = _read(file)
    plan = planned(kept, _registry(settings), _now_ms())
    if replace and plan.other and not agreed(f"replace {_names(plan.other)}?", yes=yes):
        return NOT_ALL
    _write(settings, file, [*plan.missing, *(plan.other if replace else ())])
    _tell(plan, replaced=replace, json=json)
    return 0 if replace or not plan.other else NOT_ALL


def _write(settings: Settings, file: Path, records: list[RegistryRecord]) -> None:
    if not records:
        return
    audited(settings, "restore", f"from {file.name}", records=len(records))
    topic = Topic.REGISTRY.full(settings.namespace)
    out = (Record(topic, key_of(each), encode_registry(each), nothing) for each in records)
    write(settings, out, lambda _: None)


def _tell(plan: Plan, *, replaced: bool, json: bool) -> None:
    missing, other = len(plan.missing), len(plan.other)
    if json:
        names = [named(each) for each in plan.other]
        print_json({"written": missing, "same": plan.same, "other": names, "replaced": replaced})
    say(f"{counted(missing, 'record')} written, {plan.same} there already")
    if other and replaced:
        say(f"replaced {other}: {_names(plan.other)}")
    elif other:
        say(f"left {other} that differ: {_names(plan.other)}; --replace writes over them")


def _names(records: list[RegistryRecord]) -> str:
    return shorten(", ".join(map(named, records)), SHOWN)


def _registry(settings: Settings) -> Registry:
    """What counts on the topic. Raises Unreachable, WrongCredentials, NotFound."""
    with Reader(settings, say) as reader:
        return read_registry(reader, settings)[1]


def _read(file: Path) -> Backup:
    """Raises ConfigurationError."""
    try:
        with file.open(encoding="utf-8") as told:
            return Backup.read(_lines(told))
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigurationError(f"{file} cannot be read: {why}") from None
    except Invalid as error:
        raise ConfigurationError(f"{file}: {error}") from None


def _lines(told: Iterator[str]) -> Iterator[str]:
    return (line for line in told if line.strip())


def _replace(file: Path, text: str) -> None:
    """Raises ConfigurationError."""
    try:
        write_atomically(file, text, PRIVATE)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {error.strerror}") from None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
