"""`modelmora results`: outcomes as they lie on Kafka, and as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated

import typer

from modelmora.cli.ask.outcomes import show
from modelmora.cli.shared.options import JsonOption, finds_instance
from modelmora.client.kafka.subscription import Where, results_of
from modelmora.errors import NotFound
from modelmora.host.instance import Instance
from modelmora.kafka.reading.reader import Start
from modelmora.messages import InferenceResult
from modelmora.text import counted
from modelmora.wire import time_of

LOOK_BACK_MS = 5 * 60_000
"""Clocks of callers differ from the broker's by less than this."""


@finds_instance
def results(
    where: Instance,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")
    ] = False,
    ids: Annotated[
        list[str] | None,
        typer.Option("--id", metavar="ID", help="Only of this request; may be repeated."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show the outcomes that are kept, or with -f those that come from now on.

    With --id those of some requests, wherever they lie; with -f too it waits
    until each has one.
    """
    wanted = {*(ids or ())}
    reading: Where = {"start": _start(wanted, follow=follow), "follow": follow}
    with results_of(where.kafka(), **reading) as told:
        for outcome in _of(told, wanted, follow=follow) if ids else told:
            show(outcome, json=json)
    if wanted:
        missing = ", ".join(sorted(wanted))
        raise NotFound(
            f"no outcome of {counted(len(wanted), 'request')} is there ({missing}); "
            "-f waits for it, and `modelmora trace` tells more"
        )


def _start(ids: set[str], *, follow: bool) -> Start:
    """From where on outcomes of these may lie; a UUIDv7 tells when it was made."""
    if not ids:
        return "latest" if follow else "earliest"
    made = [time_of(each) for each in ids]
    times = [each for each in made if each is not None]
    return min(times) - LOOK_BACK_MS if len(times) == len(made) else "earliest"


def _of(
    told: Iterable[InferenceResult], wanted: set[str], *, follow: bool
) -> Iterator[InferenceResult]:
    """Those of the wanted ids, which are taken out; each run once, as the first record has it."""
    all_of_them, seen = {*wanted}, set()
    for outcome in told:
        run = outcome.request_id, outcome.run
        if outcome.request_id not in all_of_them or run in seen:
            continue
        seen.add(run)
        wanted.discard(outcome.request_id)
        yield outcome
        if follow and not wanted:
            return
