"""`modelmora dlq`: the dead letters, why they are there, and putting them back."""

from __future__ import annotations

import base64
import json as json_text
import time
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from modelmora.cli.shared.agreeing import agreed
from modelmora.cli.shared.audit import audited
from modelmora.cli.shared.options import JsonOption, finds_instance
from modelmora.cli.shared.output import minute, print_bytes, print_json, print_table, say, tell
from modelmora.deadletters.choosing import meant, planned, words_of
from modelmora.deadletters.contents import told_request
from modelmora.deadletters.letters import (
    DeadLetter,
    Letters,
    Wanted,
    original_headers,
    since_ms,
)
from modelmora.deadletters.purging import purge
from modelmora.deadletters.replays import Replayer, Rerun, lanes_there
from modelmora.errors import ConfigurationError, NotFound
from modelmora.host.instance import Instance
from modelmora.kafka.reading.reader import Record
from modelmora.kafka.reading.shown import Reader
from modelmora.kafka.topics import Topic
from modelmora.settings import Settings
from modelmora.text import counted, printable

app = typer.Typer(help="Dead letters: list, show, replay, purge.", no_args_is_help=True)

CodeOption = Annotated[
    str | None, typer.Option("--code", metavar="CODE", help="Only those with this error code.")
]
ModelOption = Annotated[
    str | None, typer.Option("--model", metavar="MODEL", help="Only those for this model.")
]
SinceOption = Annotated[
    str | None,
    typer.Option("--since", metavar="SPAN|TIME", help="Only those since: 30min, 2h, 7d, a time."),
]


YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]


def _wanted(code: str | None, model: str | None, since: str | None) -> Wanted:
    return Wanted(code, model, since_ms(since, time.time_ns() // 1_000_000) if since else None)


@app.command("list")
@finds_instance
def list_letters(
    where: Instance,
    last: Annotated[
        int, typer.Option("--last", metavar="N", min=1, help="The newest so many.")
    ] = 50,
    count: Annotated[
        bool, typer.Option("--count", help="Count them all by code and model instead.")
    ] = False,
    since: SinceOption = None,
    model: ModelOption = None,
    code: CodeOption = None,
    json: JsonOption = False,
) -> None:
    """List dead letters, the newest last; never their content."""
    wanted = _wanted(code, model, since)
    settings = where.kafka()
    with Reader(settings, say) as reader:
        letters = Letters(reader, settings)
        if count:
            _print_counts(letters.survey(wanted.takes, wanted.since).letters, json=json)
            return
        found = letters.newest(last, wanted)
    if json:
        print_json([letter.as_json() for letter in found])
        return
    print_table(
        ("TIME", "PLACE", "CODE", "REQUEST", "REPLAYED"),
        [
            (
                minute(letter.time),
                f"{letter.place[1]}:{letter.place[2]}",
                letter.code,
                letter.request_id or None,
                f"run {letter.replay.run}" if letter.replay else None,
            )
            for letter in found
        ],
    )


def _print_counts(letters: Iterable[DeadLetter], *, json: bool) -> None:
    counts: Counter[tuple[str, str]] = Counter()
    replayed: Counter[tuple[str, str]] = Counter()
    for letter in letters:
        kind = letter.code, letter.model
        counts[kind] += 1
        replayed[kind] += letter.replay is not None
    names = ("code", "model", "letters", "replayed")
    rows = [(*kind, count, replayed[kind]) for kind, count in counts.most_common()]
    if json:
        print_json([dict(zip(names, row, strict=True)) for row in rows])
    else:
        columns = [name.upper() for name in names]
        print_table(columns, [(c, m or None, n, r) for c, m, n, r in rows], right=columns[2:])


@app.command("show")
@finds_instance
def show_letter(
    where: Instance,
    which: Annotated[
        str,
        typer.Argument(
            metavar="ID|PLACE",
            help="Request id, place in the list, or topic:partition:offset of the source.",
        ),
    ],
    content: Annotated[
        bool, typer.Option("--content", help="Show what the caller sent too, long texts in short.")
    ] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="Print the bytes of the record and nothing else.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Show all dead letters of one request or place; content only when asked."""
    settings = where.kafka()
    with Reader(settings, say) as reader:
        letters = Letters(reader, settings)
        found = sorted(letters.records(letters.find(which)), key=lambda each: each[0].time)
    if json:
        print_json([_as_json(*each, content=content, raw=raw) for each in found])
    elif raw:
        if len(found) > 1:
            raise ConfigurationError(f"there are {len(found)} of {which}; name one by its place")
        print_bytes(found[0][1].value or b"")
    else:
        for letter, record in found:
            _print(letter, record, content=content)
        if not content:
            say("what the caller sent is not shown; --content shows it, --raw its bytes")


def _print(letter: DeadLetter, record: Record, *, content: bool) -> None:
    for name, value in letter.as_json().items():
        if isinstance(value, dict):
            tell(f"{name:<17} as run {value['run']}, to {value['to']}, {value['time']}")
        elif value is not None:
            tell(f"{name:<17} {value}")
    for name, raw in original_headers(record):
        tell(f"{'header':<17} {name}={printable(raw or b'')}")
    if content:
        request = json_text.dumps(told_request(record.plain), indent=2, ensure_ascii=False)
        for line in request.split("\n"):
            tell(line)


def _as_json(letter: DeadLetter, record: Record, *, content: bool, raw: bool) -> dict[str, Any]:
    told = letter.as_json() | {
        "headers": [
            {"name": name, "value": None if raw is None else raw.decode("utf-8", "replace")}
            for name, raw in record.headers
        ]
    }
    if content:
        told["request"] = told_request(record.plain)
    if raw:
        value = record.value
        told["value_base64"] = None if value is None else base64.b64encode(value).decode()
    return told


@app.command("replay")
@finds_instance
def replay_letters(
    where: Instance,
    which: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID|PLACE", help="Request ids or places, as for show."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="All that were not replayed, or all that match.")
    ] = False,
    since: SinceOption = None,
    model: ModelOption = None,
    code: CodeOption = None,
    again: Annotated[
        bool, typer.Option("--again", help="Those too that were replayed before.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    json: JsonOption = False,
) -> int:
    """Put dead letters back on the lanes they came from: same bytes and key, as a new run.

    The dead letters stay where they are and are marked. Each gets a further outcome, which says
    its run: readers keep the highest.
    """
    wanted = _wanted(code, model, since)
    if bool(which) == (every or wanted != Wanted()):
        raise ConfigurationError(
            "name what to replay: ids or places, or --all, --code, --model, --since"
        )
    settings = where.kafka()
    with Reader(settings, say) as reader:
        letters = Letters(reader, settings)
        lanes = [*lanes_there(reader, settings)]
        reruns, left = planned(letters, lanes, which or (), wanted, again=again)
        if not dry_run and any(each.to for each in reruns):
            audited(settings, "dlq replay", words_of(which or (), wanted), letters=len(reruns))
            replayer = Replayer(settings, reader, letters).open()
            # Others may have replayed some since.
            reruns, left = planned(letters, lanes, which or (), wanted, again=again)
            replayer.write(reruns)
    if left:
        say(f"{counted(left, 'letter')} replayed before left out; --again takes them too")
    _print_reruns(reruns, settings, dry_run=dry_run, json=json)
    return 0 if all(each.to for each in reruns) else 1


@app.command("purge")
@finds_instance
def purge_letters(
    where: Instance,
    which: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID|PLACE", help="Request ids or places, as for show."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    before: Annotated[
        str | None,
        typer.Option("--before", metavar="SPAN|TIME", help="Only those older: 30min, 2h, 7d."),
    ] = None,
    model: ModelOption = None,
    code: CodeOption = None,
    yes: YesOption = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
) -> int:
    """Purge dead letters for good: nobody sees or replays them any more.

    The broker removes what no other letter lies before; the rest goes with it, or by its age.
    """
    until = since_ms(before, time.time_ns() // 1_000_000, "--before") if before else None
    wanted = Wanted(code, model, before=until)
    if bool(which) == (every or wanted != Wanted()):
        raise ConfigurationError(
            "name what to purge: ids or places, or --all, --code, --model, --before"
        )
    settings = where.kafka()
    with Reader(settings, say) as reader:
        letters = Letters(reader, settings)
        found = meant(letters, which or (), wanted).letters
        if not found:
            raise NotFound("there are no dead letters to purge; see `modelmora dlq list`")
        told = counted(len(found), "dead letter")
        if dry_run:
            say(f"{told} would be purged; nothing was written")
            return 0
        if not agreed(f"purge {told} for good?", yes=yes):
            say("nothing was done")
            return 1
        audited(settings, "dlq purge", words_of(which or (), wanted), letters=len(found))
        gone = purge(settings, letters, found)
    rest = len(found) - gone
    say(f"purged {told}" + (f"; {rest} lie behind others, and go with them" if rest else ""))
    return 0


def _print_reruns(reruns: list[Rerun], settings: Settings, *, dry_run: bool, json: bool) -> None:
    if json:
        print_json([each.as_json() for each in reruns])
    else:
        rows = [each.as_json() for each in reruns]
        print_table(
            ("DEAD LETTER", "RUN", "TO"),
            [(r["place"], r["run"], r["to"] or f"not replayed: {r['why']}") for r in rows],
            right=("RUN",),
        )
    back = [each for each in reruns if each.to]
    if dry_run:
        say(f"{len(back)} of {len(reruns)} would go back; nothing was written")
        return
    say(f"{len(back)} of {len(reruns)} are back on their topics")
    if back:
        ids = [each.letters[0].request_id for each in back]
        followed = ids[0] if len(set(ids)) == 1 and ids[0] else "REQUEST_ID"
        results = Topic.RESULTS.full(settings.namespace)
        say(f"the new outcome comes on {results} under the same id, with the run above;")
        say(f"follow it: modelmora trace {followed}")
