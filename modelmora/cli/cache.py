"""`modelmora cache`: what lies on this disk of models that were fetched, and what can go."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from modelmora.cli.shared.options import JsonOption, finds_instance
from modelmora.cli.shared.output import Cell, print_json, print_table, say
from modelmora.errors import ConfigurationError
from modelmora.host.instance import Instance
from modelmora.registry.cached import Cached, cached, clean
from modelmora.settings.kinds import YEAR_S
from modelmora.text import counted, duration, iso, size

app = typer.Typer(
    help="Show and clean the cache of fetched models, which nodes and folders share.",
    no_args_is_help=True,
)
COLUMNS = ("SOURCE", "REVISION", "SIZE", "USED", "STATE", "MODELS")
DAY_S = 86_400


@app.command("list")
@finds_instance
def list_cached(where: Instance, json: JsonOption = False) -> None:
    """List what was fetched: its size, when it was read last, and which models have it."""
    _show(cached(where.settings), json=json)


@app.command("clean")
@finds_instance
def clean_cached(
    where: Instance,
    unused_for: Annotated[
        float, typer.Option(metavar="DAYS", help="Only what nobody has read for so long.")
    ] = 7,
    hub: Annotated[
        bool, typer.Option("--hub", help="Of the hub's own cache too, where others keep models.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    json: JsonOption = False,
) -> None:
    """Delete what no model has: none of this folder, none of the registry its node has read."""
    if not 0 <= unused_for * DAY_S <= YEAR_S:
        raise ConfigurationError("--unused-for must be 0 days at least and at most a year")
    gone = clean(where.settings, unused_for * DAY_S, hub=hub, dry_run=dry_run)
    _show(gone, json=json, what="would be freed" if dry_run else "freed")


def _show(found: list[Cached], *, json: bool, what: str = "altogether") -> None:
    if json:
        print_json([_told(each) for each in found])
        return
    if found:
        print_table(
            COLUMNS,
            [_row(each) for each in found],
            right=("SIZE", "USED"),
            drop=("REVISION", "STATE", "USED"),
        )
    total = size(sum(each.size_bytes for each in found))
    say(f"{counted(len(found), 'revision')}, {total} {what}")


def _state(each: Cached) -> str:
    if each.claimed:
        return "claimed"
    if each.revision is None:
        return "partial"
    return "used" if each.models else "unused"


def _row(each: Cached) -> tuple[Cell, ...]:
    ago = duration(max(0.0, time.time() - each.used_at) * 1000) if each.used_at else None
    revision = each.revision[:12] if each.revision else None
    models = ", ".join(each.models) or None
    return each.source, revision, size(each.size_bytes), ago, _state(each), models


def _told(each: Cached) -> dict[str, Any]:
    return {
        "source": each.source,
        "revision": each.revision,
        "path": str(each.path),
        "size_bytes": each.size_bytes,
        "used_at": iso(round(each.used_at * 1000)) if each.used_at else None,
        "state": _state(each),
        "models": each.models,
    }
