"""`modelmora audit`: who did what, and whether what is told of it is true."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import asdict
from typing import Annotated, Any

import typer

from modelmora.audit.reading import Wanted, entries_in, verified
from modelmora.audit.signing import key_path, signer_of
from modelmora.audit.verifying import Report
from modelmora.cli.shared.options import JsonOption, finds_instance
from modelmora.cli.shared.output import minute, node_name, print_json, print_table, say, tell
from modelmora.deadletters.letters import since_ms
from modelmora.errors import NotFound
from modelmora.host.instance import Instance
from modelmora.kafka.reading.shown import Reader
from modelmora.kafka.topics import Topic
from modelmora.messages import Decision
from modelmora.text import counted

app = typer.Typer(help="Who did what: list, verify, key.", no_args_is_help=True)
FAULTY = 1
MOST_SHOWN = 100
"""Faults that a person is shown; `--json` has all."""


@app.command("list")
@finds_instance
def list_audit(
    where: Instance,
    principal: Annotated[
        str | None, typer.Option("--principal", metavar="NAME", help="Only what they did.")
    ] = None,
    verb: Annotated[
        str | None, typer.Option("--verb", metavar="VERB", help="Only this, such as load.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="Only with this model or budget.")
    ] = None,
    denied: Annotated[bool, typer.Option("--denied", help="Only what was not allowed.")] = False,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="SPAN|TIME", help="Only what is newer: 30min, 2h, 7d."),
    ] = None,
    last: Annotated[
        int, typer.Option("--last", metavar="N", min=1, help="The newest so many of them.")
    ] = 100,
    json: JsonOption = False,
) -> None:
    """List who did what, or was not let, oldest first."""
    begin = since_ms(since, time.time_ns() // 1_000_000) if since else None

    everything = not (principal or verb or model or denied or since)
    wanted = Wanted(principal, verb, model, Decision.DENIED if denied else None)
    settings = where.kafka()
    with Reader(settings, say) as reader:
        topic = Topic.AUDIT.full(settings.namespace)
        places = reader.places(topic)
        starts = reader.newest(places, last) if everything else reader.since(places, begin)
        entries = entries_in(reader.read(starts), wanted, _unread)
        found = deque((entry.as_json() for _, entry in entries), last)
    if json:
        print_json([*found])
        return
    columns = ("TIME", "PRINCIPAL", "VERB", "SUBJECT", "DECISION", "REASON")
    rows = [
        (minute(each["at"]), node_name(each["principal"]), each["verb"], each["model"],
         each["decision"].lower(), each["reason"])
        for each in found
    ]  # fmt: skip
    print_table(columns, rows, prose=True)
    say(counted(len(found), "record"))


def _unread(place: str) -> None:
    say(f"{place} is no record of the audit; see `modelmora audit verify`")


@app.command("verify")
@finds_instance
def verify_audit(where: Instance, json: JsonOption = False) -> int:
    """Find what was changed, left out, put elsewhere or cut off, and where; exit code 1 then.

    Each process counts and signs its records and names the one before; how far it has come is
    told on `events`, too.
    """
    settings = where.kafka()
    with Reader(settings, say) as reader:
        report = verified(settings, reader)
    if json:
        print_json(_as_json(report))
    else:
        _print(report, trusted=bool(settings.audit.trusted))
    return FAULTY if report.findings else 0


@app.command("key")
@finds_instance
def key(where: Instance, json: JsonOption = False) -> None:
    """Print the public key with which this machine's records are signed, for `audit.trusted`."""
    path = key_path(where.settings)
    if not path.exists():
        raise NotFound(f"there is no key {path}; a gateway or node makes it when it starts")
    public = signer_of(where.settings).public_key.hex()
    if json:
        print_json({"public_key": public})
    else:
        tell(public)


def _print(report: Report, *, trusted: bool) -> None:
    if report.findings:
        print_table(
            ("FAULT", "PLACE", "WRITER", "WHAT"),
            [
                (each.fault, each.place, each.writer, each.message)
                for each in report.findings[:MOST_SHOWN]
            ],
            prose=True,
        )
        if (more := len(report.findings) - MOST_SHOWN) > 0:
            say(f"and {more} more; --json has all")
    processes = counted(len(report.writers), "process", "processes")
    again = f", {report.repeated} of them twice" if report.repeated else ""
    heads = counted(report.anchors, "head")
    say(
        f"{counted(report.records, 'record')} of {processes}{again}; held against {heads} on events"
    )
    for writer in report.writers.values():
        for lost in writer.lost:
            say(f"{writer.name}: {lost}")
    running = sum(not each.ended for each in report.writers.values())
    if running:
        what = counted(running, "process has", "processes have")
        say(f"{what} told no end: running still, or killed with what was not written by then")
    headless = sum(not each.heads for each in report.writers.values())
    if headless:
        what = counted(headless, "process is", "processes are")
        say(f"{what} not on events (which keeps a week): an end that was cut off would not be seen")
    if not trusted:
        keys = sorted({each.public_key.hex() for each in report.writers.values()})
        say(f"signed with {counted(len(keys), 'key')}, none of them named in audit.trusted:")
        for each in keys:
            say(f"  {each}")
    say(counted(len(report.findings), "fault") if report.findings else "all of it holds")


def _as_json(report: Report) -> dict[str, Any]:
    return {
        "holds": not report.findings,
        "records": report.records,
        "repeated": report.repeated,
        "heads": report.anchors,
        "findings": [asdict(each) for each in report.findings],
        "writers": [
            {
                "writer": each.name,
                "public_key": each.public_key.hex(),
                "first": each.first,
                "last": each.last,
                "heads": each.heads,
                "ended": each.ended,
                "lost": each.lost,
            }
            for each in report.writers.values()
        ],
    }
