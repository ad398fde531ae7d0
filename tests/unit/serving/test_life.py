"""Orders to models, how long requests keep them, and which event tells of each turn."""

from __future__ import annotations

from dataclasses import replace
from typing import cast
from unittest.mock import Mock

import pytest

from modelmora.errors import Code, ModelMoraError
from modelmora.messages import EventKind, Health, LifecycleEvent, Parameter, State
from modelmora.serving.effects import Listener, event_of
from modelmora.testing.fakes import incoming
from modelmora.workers import ExitReason, ExitReport, Held, MetaLike
from tests.facts import faults
from tests.unit.serving.rig import ECHO, Hall, model


@pytest.fixture
async def hall() -> Hall:
    return Hall()


async def test_commands_for_models(hall: Hall) -> None:
    assert hall.service.named("echo") == (ECHO,)
    assert hall.service.load(ECHO).state is State.LOADING
    pinned = (replace(model("echo")[0], pinned=True), model("echo")[1])
    hall.service.serve([pinned, model("sleep")])
    assert hall.service.health(ECHO).state is State.LOADING
    with pytest.raises(ModelMoraError, match="unpin"):
        hall.service.unload(ECHO)
    hall.service.serve([model("echo")])
    assert hall.service.unload(ECHO).state is State.LEAVING
    assert hall.service.replicas == {hall.child(): ECHO}


async def test_how_long_a_request_keeps_its_model_reaches_no_engine(hall: Hall) -> None:
    """And it splits no group."""
    hall.service.load(ECHO)
    hall.workers.loaded()
    for number, seconds in enumerate((60, None, 0.5, None)):
        parameters: dict[str, Parameter] = {} if seconds is None else {"keep_alive": seconds}
        hall.service.accept(incoming(f"r{number}", parameters=parameters))
    hall.workers.answer(0)
    assert [len(group.works) for group in hall.workers.groups] == [1, 1, 2]
    works = [work for group in hall.workers.groups for work in group.works]
    metas = [cast("MetaLike", work.meta) for work in works]
    assert [dict(meta.parameters) for meta in metas] == [{}] * 4


@pytest.mark.parametrize("wrong", [-0.5, -2, True, None, "5m", float("nan"), 1e300, ("1",)])
async def test_a_time_that_is_none_is_refused(hall: Hall, wrong: Parameter) -> None:
    hall.service.accept(incoming("r", parameters={"keep_alive": wrong}))
    assert hall.told == [("failed", "r", "invalid_input")]
    assert "`keep_alive`" in hall.outcomes.errors["r"].message


def _health(state: State) -> Health:
    failed = state in (State.FAILED, State.QUARANTINED)
    return Health(state, "no memory", 1000) if failed else Health(state)


@pytest.mark.parametrize("was", State)
@pytest.mark.parametrize("state", State)
def test_every_turn_is_told_by_one_event(was: State, state: State) -> None:
    """Those of a child tell where it began, is ready, or is gone."""
    told = event_of(_health(was), _health(state))
    in_memory = was in (State.LOADING, State.READY, State.DRAINING, State.LEAVING)
    if state in (State.LOADING, State.READY) or (state is State.COLD and in_memory):
        assert told is None
        return
    assert told is not None
    kind, facts = told
    known = {State.FAILED: EventKind.LOAD_FAILED, State.QUARANTINED: EventKind.QUARANTINED}
    assert kind is known.get(state, EventKind.HEALTH_CHANGED)
    assert faults(LifecycleEvent("id", kind, "n", 0, "m", "1", facts)) == []


def test_what_only_other_files_can_mend_is_told_so() -> None:
    told = event_of(Health(State.COLD), Health(State.FAILED, "cut off"))
    assert told is not None
    assert told[1]["code"] == Code.CANNOT_BE_SERVED


async def test_an_exit_tells_how_many_children_the_model_keeps(hall: Hall) -> None:
    hall.service.load(ECHO)
    (first,) = hall.workers.loads
    second = first + 1
    hall.service.replicas[second] = ECHO
    for replica in (first, second):
        report = ExitReport(ExitReason.KILLED, "unload", -9)
        hall.service.listener.on_exited(replica, report)
    told = [
        facts["replicas"] for kind, _, facts in hall.outcomes.events if kind is EventKind.UNLOADED
    ]
    assert told == [1, 0]


def test_the_alarm_is_set_anew_when_memory_was_measured() -> None:
    armed: list[bool] = []
    listener = Listener(Mock(), Mock(), lambda: armed.append(True), lambda: 0.0)
    listener.on_memory(1, Held())
    assert armed
