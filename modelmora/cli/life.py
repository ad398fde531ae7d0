"""`modelmora load`, `unload`, `pin` and `unpin`: orders to the nodes, and what came of them."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from modelmora.access.secrets import signer_of
from modelmora.cli.shared.options import JsonOption, finds_instance
from modelmora.cli.shared.output import print_json, say, tell, waiting
from modelmora.errors import ConfigurationError, ModelMoraError, NotFound, Undecodable
from modelmora.host.instance import Instance
from modelmora.kafka.acls import Operation
from modelmora.kafka.commands import command_headers
from modelmora.kafka.orders import HEARD_S, Order
from modelmora.kafka.reading.shown import Reader
from modelmora.kafka.topics import Topic
from modelmora.kafka.writing.once import write_once
from modelmora.messages import ControlCommand, ControlVerb
from modelmora.messages.headers import LOCAL
from modelmora.settings.kinds import YEAR_S
from modelmora.text import duration
from modelmora.wire import decode_event, encode_control

LOAD_S = 600.0
Model = Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="The model.")]
Wait = Annotated[
    float,
    typer.Option("--wait", metavar="SECONDS", help="For its end; 0: only until heard."),
]


@finds_instance
def load(
    where: Instance,
    model: Model,
    pin: Annotated[bool, typer.Option("--pin", help="Keep it in memory from then on.")] = False,
    everywhere: Annotated[
        bool, typer.Option("--all", help="On every node that serves it, not on one.")
    ] = False,
    wait: Wait = LOAD_S,
    json: JsonOption = False,
) -> int:
    """Load a model before it is asked for, whatever its last load came to."""
    code = _order(where, ControlVerb.LOAD, model, wait, everywhere=everywhere, json=json)
    return code or (_order(where, ControlVerb.PIN, model, wait, json=json) if pin else 0)


@finds_instance
def unload(where: Instance, model: Model, wait: Wait = LOAD_S, json: JsonOption = False) -> int:
    """Give a model's memory back on every node, or cancel its load; requests load it again."""
    return _order(where, ControlVerb.UNLOAD, model, wait, json=json)


@finds_instance
def pin(where: Instance, model: Model, json: JsonOption = False) -> int:
    """Keep a model in memory, on every node that serves it."""
    return _order(where, ControlVerb.PIN, model, 0, json=json)


@finds_instance
def unpin(where: Instance, model: Model, json: JsonOption = False) -> int:
    """Let a model leave memory again when room is needed."""
    return _order(where, ControlVerb.UNPIN, model, 0, json=json)


def _order(
    where: Instance,
    verb: ControlVerb,
    model: str,
    wait_s: float,
    *,
    everywhere: bool = False,
    json: bool,
) -> int:
    """Give the order and wait for what comes of it; exit code 1 where it was in vain."""
    if not 0 <= wait_s <= YEAR_S:
        raise ConfigurationError("--wait must be 0 seconds at least and at most a year")
    settings = where.kafka()
    topics = {topic: topic.full(settings.namespace) for topic in (Topic.EVENTS, Topic.CONTROL)}
    with Reader(settings, say) as reader:
        ends = reader.ends(reader.places(topics[Topic.EVENTS]))
        reader.places(topics[Topic.CONTROL], to=Operation.WRITE)
        signer = signer_of(settings)
        principal = signer.principal("") if signer else LOCAL
        command = ControlCommand(verb, model, principal, everywhere)
        headers, value = command_headers(command, signer), encode_control(command)
        offset = write_once(settings, topics[Topic.CONTROL], model.encode(), value, headers)
        order = Order(verb, offset)
        with waiting(f"waiting for what becomes of {model}; Ctrl-C leaves it alone"):
            _follow(reader, ends, order, wait_s)
    if not order.answers:
        raise NotFound(f"no node that runs serves {model}; see `modelmora ps`, `modelmora list`")
    answers = order.told()
    if json:
        shown = ("node", "model", "state", "reason", "done")
        print_json([{name: getattr(each, name) for name in shown} for each in answers])
    else:
        for each in answers:
            tell(f"{each.model} {'refused' if each.state is None else each.state.value}")
    if faults := [each.reason for each in answers if each.reason]:
        raise ModelMoraError(faults[0])
    if wait_s and not order.done:
        raise ModelMoraError(f"{model} was not there after {duration(wait_s * 1000)}; it goes on")
    return 0


def _follow(reader: Reader, ends: dict[tuple[str, int], int], order: Order, wait_s: float) -> None:
    began = time.monotonic()
    for record in reader.follow(ends):
        if record:
            try:
                order.take(decode_event(record.plain))
            except Undecodable:
                continue
        passed = time.monotonic() - began
        if order.done or passed > (max(wait_s, HEARD_S) if order.heard else HEARD_S):
            return
        if order.heard and not wait_s:
            return
