"""`modelmora produce`: requests written to Kafka, a line each."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from modelmora.cli.ask.infer import read_parameter
from modelmora.cli.ask.outcomes import show
from modelmora.cli.ask.window import in_order
from modelmora.cli.shared.options import (
    JsonOption,
    ParametersOption,
    PatienceOption,
    PriorityOption,
    finds_instance,
)
from modelmora.cli.shared.output import print_json, say, tell
from modelmora.client import CallError
from modelmora.client.kafka import AsyncKafkaClient
from modelmora.client.kafka.asked import How
from modelmora.errors import ConfigurationError, RequestError
from modelmora.host.instance import Instance
from modelmora.messages import InferenceRequest, InferenceResult, Status
from modelmora.text import counted
from modelmora.wire.plainjson import request_of
from modelmora.wire.strict import parse

WINDOW = 500
Line = tuple[int, bytes]


@finds_instance
def produce(
    where: Instance,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name or name@version.")],
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE|-", help="What is asked; - is standard input.")
    ] = None,
    param: ParametersOption = None,
    priority: PriorityOption = "normal",
    timeout: PatienceOption = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the outcomes, print them.")
    ] = False,
    text: Annotated[
        bool, typer.Option("--text", help="Take lines that begin with { as text too.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Write requests to Kafka, one for each line, and print their ids.

    A line is a text, or JSON such as {"inputs": ["a text"]}, with the fields
    that the topics take. A JSON object over several lines is one request.
    Blank lines are passed over.
    """
    if not model:
        raise ConfigurationError("no model is named; `modelmora list` shows them")
    shared = dict(read_parameter(given) for given in param or ())
    settings = where.kafka()
    patience = settings.timing.request_timeout_ms / 1000 if wait else None
    how: How = {"priority": priority, "timeout_s": patience if timeout is None else timeout}
    with opened(file) as stream:
        lines = lines_of_requests(stream, settings.limits.request_bytes)
        asked = (_asked(line, model, how, shared, text=text) for line in lines)
        client = AsyncKafkaClient(
            settings.bootstrap_servers or "", settings.namespace, settings=settings
        )
        work = _await_all(client, asked, json=json) if wait else _write(client, asked, json=json)
        asyncio.run(work)


Asked = tuple[InferenceRequest, How]


async def _write(client: AsyncKafkaClient, asked: Iterator[Asked], *, json: bool) -> None:
    done = 0
    async with client:
        sending = (client.submit(each.model, each.inputs, **how) for each, how in asked)
        try:
            async for request_id in in_order(sending, WINDOW):
                done += 1
                if json:
                    print_json({"request_id": request_id}, line=True)
                else:
                    tell(request_id)
        finally:
            say(f"{counted(done, 'request')} written")


async def _await_all(client: AsyncKafkaClient, asked: Iterator[Asked], *, json: bool) -> None:
    async def ask(request: InferenceRequest, how: How) -> InferenceResult | CallError:
        try:
            reply = await client.ask(request.model, request.inputs, **how)
            return await reply.result()
        except CallError as error:
            return error

    done = failed = 0
    async with client:
        sending = (ask(*each) for each in asked)
        async for outcome in in_order(sending, WINDOW):
            done += 1
            if isinstance(outcome, CallError):
                failed += 1
                say(f"{outcome.request_id} {outcome.code}: {outcome.message}")
                continue
            failed += outcome.status is not Status.COMPLETED
            show(outcome, json=json)
    if failed:
        say(f"{failed} of {counted(done, 'request')} did not complete")
        raise typer.Exit(1)


def opened(file: Path | None) -> Any:
    """The file, or standard input; raises ConfigurationError where that is a terminal."""
    if file and str(file) != "-":
        return file.open("rb")
    if file is None and sys.stdin.isatty():
        raise ConfigurationError("nothing to ask; name a file, or - to read lines that you write")
    return nullcontext(sys.stdin.buffer)


def lines_of_requests(stream: BinaryIO, most: int) -> Iterator[Line]:
    """The number and bytes of each line that is not blank, or of a JSON object over all of them.

    Raises ConfigurationError for a line of more than `most` bytes.
    """
    first = _line(stream, 1, most)
    if first.lstrip().startswith(b"{") and not _is_json(first):
        rest = stream.read(most)
        if len(rest) < most and _is_json(first + rest):
            yield 1, first + rest
            return
        raise ConfigurationError("line 1 begins with { and is no JSON; --text takes it as text")
    number = 1
    while first:
        if first.strip():
            yield number, first.rstrip(b"\r\n")
        number += 1
        first = _line(stream, number, most)


def _line(stream: BinaryIO, number: int, most: int) -> bytes:
    line = stream.readline(most + 2)
    if len(line.rstrip(b"\r\n")) > most:
        raise ConfigurationError(
            f"line {number} is longer than a request may be ({most} bytes, limits.request_bytes)"
        )
    return line


def _is_json(line: bytes) -> bool:
    try:
        parse(line)
    except RequestError:
        return False
    return True


def _asked(line: Line, model: str, how: How, shared: dict[str, Any], *, text: bool) -> Asked:
    """What a line asks, and how. Raises ConfigurationError, with its number."""
    number, raw = line
    try:
        if text or not raw.lstrip().startswith(b"{"):
            request = InferenceRequest("", model, (raw.decode(),))
        else:
            request = request_of(parse(raw), model, "")
    except UnicodeDecodeError:
        raise ConfigurationError(
            f"line {number} is no UTF-8; convert it, as with iconv(1)"
        ) from None
    except RequestError as error:
        raise ConfigurationError(f"line {number}: {error.message}") from None
    own: How = {"parameters": {**shared, **request.parameters}, "progress": request.progress}
    if request.request_id:
        own["request_id"] = request.request_id
    if request.task:
        own["task"] = request.task
    if request.timeout_ms:
        own["timeout_s"] = request.timeout_ms / 1000
    return request, {**how, **own}
