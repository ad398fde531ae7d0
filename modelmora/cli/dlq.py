"""`modelmora dlq`: the dead letters, why they are there, and putting them back."""

from __future__ import annotations

import base64
from typing import Annotated, Any

import typer
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from modelmora.cli.letters import ATTEMPT, CODE, CONNECT, DeadLetter, Letters
from modelmora.cli.options import JsonOption, finds_instance
from modelmora.cli.output import minute, print_json, print_table, say, tell
from modelmora.diagnostics.reader import WAIT_S, Reader
from modelmora.errors import ConfigurationError, ModelMoraError, NotFound
from modelmora.host.instance import Instance
from modelmora.kafka.admin import explain
from modelmora.kafka.connection import confluent_config
from modelmora.kafka.topics import REQUEST_BYTES
from modelmora.settings import Settings

app = typer.Typer(help="Dead letters: list, show, replay.", no_args_is_help=True)

CodeOption = Annotated[
    str | None, typer.Option("--code", metavar="CODE", help="Only those with this error code.")
]


@app.command("list")
@finds_instance
def list_letters(
    where: Instance,
    last: Annotated[
        int, typer.Option("--last", metavar="N", min=1, help="The newest so many.")
    ] = 50,
    code: CodeOption = None,
    json: JsonOption = False,
) -> None:
    """List dead letters, the newest last; never their content."""
    settings = where.kafka()
    with Reader(settings, say) as reader:
        letters = Letters(reader, settings).newest(last, code)
    if json:
        print_json([letter.as_json() for letter in letters])
        return
    print_table(
        ("TIME", "PLACE", "CODE", "REQUEST"),
        [
            (
                minute(letter.record.timestamp),
                f"{letter.record.partition}:{letter.record.offset}",
                letter.code,
                letter.request_id or None,
            )
            for letter in letters
        ],
    )


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
        bool, typer.Option("--content", help="Show its bytes too: what the caller sent.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Show all dead letters of one request or place; content only when asked."""
    settings = where.kafka()
    with Reader(settings, say) as reader:
        letters = Letters(reader, settings).find(which)
    if json:
        print_json([_told(letter, content=content) for letter in letters])
        return
    for letter in letters:
        for name, value in letter.as_json().items():
            if value is not None:
                tell(f"{name:<17} {value}")
        for name, raw in letter.record.headers:
            if not name.startswith(CONNECT) and name not in (CODE, ATTEMPT):
                tell(f"header            {name}={(raw or b'').decode('utf-8', 'replace')}")
        if content:
            tell(f"{'content':<17} {readable(letter.record.value)}")
    if not content:
        say("its bytes are what the caller sent; --content shows them")


def readable(value: bytes | None) -> str:
    """Bytes as text that cannot upset a terminal; `--json` has them exactly (base64)."""
    text = (value or b"").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _told(letter: DeadLetter, *, content: bool) -> dict[str, Any]:
    told = letter.as_json() | {
        "headers": [
            {"name": name, "value": None if raw is None else raw.decode("utf-8", "replace")}
            for name, raw in letter.record.headers
        ]
    }
    if content:
        value = letter.record.value
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
    every: Annotated[bool, typer.Option("--all", help="All there are.")] = False,
    code: CodeOption = None,
    json: JsonOption = False,
) -> int:
    """Put dead letters back on the topics they came from: same bytes, key and headers.

    The dead letters stay where they are; a request that was replayed gets a further outcome.
    """
    if bool(which) == (every or code is not None):
        raise ConfigurationError("name what to replay: ids or places, or --all, or --code CODE")
    settings = where.kafka()
    with Reader(settings, say) as reader:
        letters = Letters(reader, settings)
        chosen = (
            [letter for one in which for letter in letters.find(one)]
            if which
            else letters.newest(0, code)
        )
        if not chosen:
            raise NotFound("there are no dead letters to replay; see `modelmora dlq list`")
        topics = {place[0] for place in reader.places(*_sources(chosen))}
    replayed = replay(settings, chosen, topics)
    if json:
        print_json(replayed)
    else:
        print_table(
            ("DEAD LETTER", "BACK TO"),
            [(row["place"], row["to"] or f"not replayed: {row['why']}") for row in replayed],
        )
    back = sum(row["to"] is not None for row in replayed)
    say(f"{back} of {len(replayed)} are back on their topics")
    return 0 if back == len(replayed) else 1


def _sources(letters: list[DeadLetter]) -> set[str]:
    return {letter.source[0] for letter in letters if letter.source}


def replay(
    settings: Settings, letters: list[DeadLetter], topics: set[str]
) -> list[dict[str, str | None]]:
    """Write each to the topic it came from; says where it lies now, or why it does not."""
    config = confluent_config(settings) | {
        "partitioner": "murmur2_random",
        "enable.idempotence": True,
        "message.max.bytes": REQUEST_BYTES + 64 * 1024,
    }
    producer = Producer(config)
    rows = []
    for letter in letters:
        row: dict[str, str | None] = {"place": letter.record.place, "to": None, "why": None}
        rows.append(row)
        if letter.source is None or letter.source[0] not in topics:
            row["why"] = "its headers name no topic to go back to"
        elif letter.cut:
            row["why"] = "only its first 64 KiB were kept"
        else:
            _send(producer, letter, letter.source[0], row)
    if producer.flush(WAIT_S):
        raise explain(KafkaError(KafkaError._TIMED_OUT), settings.bootstrap_servers or "")
    return rows


def _send(producer: Producer, letter: DeadLetter, topic: str, row: dict[str, str | None]) -> None:
    def on_delivery(error: KafkaError | None, message: Message) -> None:
        if error is None:
            row["to"] = f"{message.topic()}:{message.partition()}:{message.offset()}"
        else:
            row["why"] = error.str()

    record = letter.record
    headers: list[Any] = letter.original_headers()
    while True:
        try:
            producer.produce(
                topic, record.value, record.key, headers=headers, on_delivery=on_delivery
            )
        except BufferError:
            # The queue of the client is full: let it write.
            producer.poll(1.0)
            continue
        except KafkaException as error:
            raise ModelMoraError(f"{record.place} cannot be replayed: {error}") from None
        producer.poll(0)
        return
