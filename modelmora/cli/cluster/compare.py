"""`modelmora compare`: how a version answers what another one answers, live or of the past."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from modelmora.cli.shared.audit import audited
from modelmora.cli.shared.options import JsonOption, finds_instance
from modelmora.cli.shared.output import bar, print_json, print_table, say
from modelmora.comparing import MEASURES, Report
from modelmora.comparing.page import page
from modelmora.comparing.told import case, headline, lines, reasons, rows, took, warning
from modelmora.deadletters.letters import since_ms
from modelmora.errors import ConfigurationError
from modelmora.host.instance import Instance
from modelmora.kafka.reading.shown import Reader
from modelmora.messages.headers import LIVE
from modelmora.settings import YEAR_S, Settings
from modelmora.surroundings import INTERRUPTED
from modelmora.text import counted
from modelmora.trials.running import Replay, Wish, found
from modelmora.trials.versions import read_trial

MOST_LIVE = 10_000
SAMPLE = 1000
NOTHING = 1
"""Exit code where no pair tells anything."""
FORBIDDEN = " forbidden"
SHOWN = 10
"""Worst cases in the table; the page and `--json` have more."""


@finds_instance
def compare(
    where: Instance,
    model: Annotated[str, typer.Argument(metavar="NAME@VERSION", help="The version to try.")],
    against: Annotated[
        str | None,
        typer.Option(metavar="NAME@VERSION", help="Compared with (what answers most)."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="SPAN|TIME", help="Ask again what was asked since: 2h, a time."),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="SPAN|TIME", help="With --since: up to (now).")
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=100_000, help="At most so many requests (1000)."),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Ask the other version again too, for its times.")
    ] = False,
    wait: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Wait for outcomes so long (shadow.kept_s)."),
    ] = None,
    comparison: Annotated[
        str | None, typer.Option(metavar="ID", help="Show one from before once more.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Write a page, too.")
    ] = None,
    json: JsonOption = False,
) -> int:
    """Compare how two versions of a model answer: agreement, time, memory, worst cases.

    Without --since it looks at what a shadow has left (`modelmora routes set`), where nothing is
    asked anew. With it, requests of the past are copied to both versions, behind all
    real work. Shown are numbers and ids, never what was asked or answered.
    """
    settings = where.kafka()
    _check(since, until, comparison, fresh=fresh, wait=wait)
    if sample is not None and comparison not in (None, LIVE):
        raise ConfigurationError("--comparison shows all that was compared; leave --sample out")
    if html:
        _check_file(html)
    interrupted = False
    with Reader(settings, say) as reader:
        trial = read_trial(reader, settings, model, against)
        if since is None:
            report = found(reader, settings, trial, comparison or LIVE, sample or MOST_LIVE)
        else:
            wait_s = settings.shadow.kept_s if wait is None else wait
            wish = Wish(_span(since, until), sample or SAMPLE, wait_s, fresh)
            replay = Replay(reader, settings, trial, wish)
            interrupted = _run(replay, settings)
            report = replay.report()
    _show(report, html, json=json)
    if interrupted:
        return INTERRUPTED
    return 0 if report.pairs else NOTHING


def _check(
    since: str | None,
    until: str | None,
    comparison: str | None,
    *,
    fresh: bool,
    wait: float | None,
) -> None:
    if since is None and (until is not None or fresh or wait is not None):
        raise ConfigurationError("--until, --fresh and --wait are for --since; add it")
    if since is not None and comparison is not None:
        raise ConfigurationError("--since makes a comparison, --comparison shows one; take either")
    if comparison == "":
        raise ConfigurationError("--comparison needs the id that the comparison has told")
    if wait is not None and not 0 <= wait <= YEAR_S:
        raise ConfigurationError("--wait must be 0 seconds at least and at most a year")


def _check_file(html: Path) -> None:
    """Before anything is asked. Raises ConfigurationError."""
    folder = html.absolute().parent
    if not folder.is_dir():
        raise ConfigurationError(f"--html {html}: there is no folder {html.parent}; make it first")
    if not os.access(html if html.exists() else folder, os.W_OK):
        raise ConfigurationError(f"--html {html} cannot be written; name another file")


def _span(since: str, until: str | None) -> tuple[int, int]:
    now_ms = time.time_ns() // 1_000_000
    begin = since_ms(since, now_ms)
    end = since_ms(until, now_ms, "--until") if until else now_ms
    if begin >= end:
        raise ConfigurationError(f"--since {since} must be before {until or 'now'}")
    return begin, end


def _run(replay: Replay, settings: Settings) -> bool:
    """Write the copies and wait; whether it was interrupted."""
    copies = replay.choose()
    model, comparison = replay.trial.candidate.model, replay.comparison
    told = counted(replay.requests, "request")
    if replay.cut:
        say(f"more than {told} would be too large to hold at once")
    audited(settings, "compare", f"{model}, comparison {comparison}", requests=replay.requests)
    say(f"{counted(copies, 'copy', 'copies')} of {told}: comparison {comparison}")
    try:
        with bar(f"{told} for {model}", copies) as show:
            replay.write(show)
            replay.wait(show)
    except KeyboardInterrupt:
        say(f"interrupted; `modelmora compare {model} --comparison {comparison}` shows the rest")
        return True
    return False


def _show(report: Report, html: Path | None, *, json: bool) -> None:
    if json:
        print_json(report.as_json())
    else:
        _print(report)
    if html:
        try:
            html.write_text(page(report), "utf-8")
        except OSError as error:
            raise ConfigurationError(f"--html {html} is not written: {error.strerror}") from None
        say(f"{html}: {headline(report)}")


def _print(report: Report) -> None:
    say(headline(report))
    if report.measures:
        _print_measures(report)
    _print_both(report)
    _print_worst(report)
    if told := warning(report):
        say(told)
    for why, count in reasons(report.unlike):
        say(f"answered otherwise {count}: {why}")
    for why, count in reasons(report.left_out):
        say(f"left out {count}: {why}")
    if any(why.endswith(FORBIDDEN) for why in report.left_out):
        say(
            "who compares needs the right to infer in lane low; copies are signed where "
            "access.signing_key_file or a cluster secret is set"
        )


def _print_measures(report: Report) -> None:
    print_table(
        ("MEASURE", "PAIRS", "MEAN", "MEDIAN", "95 %", "WORST"),
        lines(report),
        right=("PAIRS", "MEAN", "MEDIAN", "95 %", "WORST"),
    )


def _print_both(report: Report) -> None:
    asked = report.asked
    print_table(
        ("", asked.baseline, asked.candidate, "RATIO"),
        rows(report),
        right=(asked.baseline, asked.candidate, "RATIO"),
    )


def _print_worst(report: Report) -> None:
    told = MEASURES["agreement"].told
    worst = [each for each in report.worst if each.agreement < 1][:SHOWN]
    if worst:
        print_table(
            ("WORST", "AGREES", "TOOK", "WHAT"),
            [(each.request_id, told(each.agreement), took(each), case(each)) for each in worst],
            right=("AGREES",),
            drop=("TOOK",),
            prose=True,
        )
