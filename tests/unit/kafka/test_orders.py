"""What became of an order, as the events after it tell."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelmora.kafka.orders import Order
from modelmora.messages import ControlVerb, EventKind, LifecycleEvent, Parameter, State
from tests.facts import faults

LOAD, UNLOAD, PIN = ControlVerb.LOAD, ControlVerb.UNLOAD, ControlVerb.PIN


def event(
    kind: EventKind, node: str = "n1", model: str = "m", **facts: Parameter
) -> LifecycleEvent:
    made = LifecycleEvent("id", kind, node, 0, model, "1", facts)
    assert faults(made) == []
    return made


def answered(
    state: str | None, node: str = "n1", message: str | None = None, offset: int = 7, nodes: int = 1
) -> LifecycleEvent:
    made = event(
        EventKind.ANSWERED, node, command_offset=offset, nodes=nodes, state=state, message=message
    )
    return replace(made, facts={"verb": "LOAD", **made.facts})


def ended(verb: ControlVerb, *events: LifecycleEvent) -> tuple[bool, State | None, str | None]:
    order = Order(verb, 7)
    for each in events:
        order.take(each)
    (answer,) = order.told()
    return order.done, answer.state, answer.reason


FAILED = event(EventKind.LOAD_FAILED, code="model_unavailable", message="no memory")
GONE = event(EventKind.UNLOADED, reason="unload", replicas=0)
FIRST_GONE = event(EventKind.UNLOADED, reason="unload", replicas=1)


@pytest.mark.parametrize(
    ("verb", "events", "end"),
    [
        (LOAD, [answered("ready")], (True, State.READY, None)),
        (LOAD, [answered("loading", message="cut off")], (False, State.LOADING, None)),
        (LOAD, [answered("loading"), event(EventKind.LOADED)], (True, State.READY, None)),
        (LOAD, [answered("cold"), event(EventKind.LOADING)], (False, State.LOADING, None)),
        (LOAD, [answered("loading"), FAILED], (True, State.FAILED, "no memory")),
        (LOAD, [answered("failed", message="cut off")], (True, State.FAILED, "cut off")),
        (LOAD, [answered("loading"), GONE], (True, State.COLD, "its load was cancelled")),
        (UNLOAD, [answered("cold")], (True, State.COLD, None)),
        (UNLOAD, [answered("failed", message="cut off")], (True, State.FAILED, None)),
        (UNLOAD, [answered("draining")], (False, State.DRAINING, None)),
        (UNLOAD, [answered("leaving"), GONE], (True, State.COLD, None)),
        (UNLOAD, [answered("leaving"), FIRST_GONE], (False, State.LEAVING, None)),
        (UNLOAD, [answered("leaving"), FIRST_GONE, GONE], (True, State.COLD, None)),
        (UNLOAD, [answered(None, message="pinned")], (True, None, "pinned")),
        (PIN, [answered("loading")], (True, State.LOADING, None)),
    ],
)
def test_how_an_order_ends(
    verb: ControlVerb, events: list[LifecycleEvent], end: tuple[bool, State | None, str | None]
) -> None:
    assert ended(verb, *events) == end


def test_what_others_ask_and_do_is_passed_over() -> None:
    order = Order(LOAD, 7)
    others = (
        event(EventKind.LOADED),
        answered("ready", offset=6),
        answered("loading"),
        event(EventKind.LOADED, node="n2"),
        event(EventKind.LOADED, model="other"),
    )
    for each in others:
        order.take(each)
    assert not order.done
    assert [each.node for each in order.told()] == ["n1"]


def test_all_nodes_that_serve_it_are_waited_for() -> None:
    order = Order(UNLOAD, 7)
    order.take(answered("cold", nodes=2))
    assert not order.heard
    order.take(answered("draining", node="n2", nodes=2))
    assert order.heard
    assert not order.done
    order.take(event(EventKind.CRASHED, node="n2", reason="crashed"))
    assert order.done


def test_a_name_that_means_two_versions_is_done_when_both_are() -> None:
    order = Order(LOAD, 7)
    second = replace(answered("loading", nodes=2), version="2")
    for each in (answered("ready", nodes=2), second):
        assert not order.done
        order.take(each)
    assert [(each.model, each.done) for each in order.told()] == [("m@1", True), ("m@2", False)]
    order.take(replace(event(EventKind.LOADED), version="2"))
    assert order.done
