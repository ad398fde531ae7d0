"""The service with fakes around it: every request that goes in has one outcome."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from unittest.mock import patch

import pytest

from modelmora.errors import Code, NotFound, RequestError
from modelmora.messages import EventKind, Health, LifecycleEvent, State
from modelmora.scheduling import Policy
from modelmora.scheduling.ledger import Ledger
from modelmora.serving import BrokerClock, HandedOn, Incoming, Service
from modelmora.testing.fakes import (
    UNIX_MS,
    FakeRecord,
    incoming,
)
from modelmora.workers import ExitReason, ExitReport, ItemResult
from tests.facts import faults
from tests.unit.serving.rig import CAP_S, ECHO, Hall, model


async def test_what_the_engines_of_new_models_import_is_imported_ahead(hall: Hall) -> None:
    assert not hall.workers.preloaded
    hall.service.serve([model("echo"), model("txt2embed")])
    assert hall.workers.preloaded >= {"torch", "modelmora.engines.sentences.embedding"}


async def test_a_request_is_answered(hall: Hall) -> None:
    hall.service.accept(incoming("r1", "sleep"))
    assert list(hall.workers.loads.values()) == [model("sleep")[0]]
    hall.workers.loaded()
    hall.time.now += 0.5
    hall.workers.answer(seed=7)  # which the engine chose
    assert hall.told == [("completed", "r1", "")]
    assert hall.outcomes.settings["r1"] == {"ms": 5.0, "seed": 7}
    spent = hall.outcomes.timings["r1"]
    assert spent.total_ms == pytest.approx(500)
    assert spent.queue_ms + spent.load_ms + spent.inference_ms == pytest.approx(500)
    assert [kind for kind, _, _ in hall.outcomes.events] == [EventKind.LOADING, EventKind.LOADED]


@pytest.mark.parametrize(
    ("said", "told"), [(12.5, 12.5), (None, None), (-1, 0.0), ("soon", None), (float("nan"), 0.0)]
)
async def test_the_event_tells_how_long_a_first_request_took(
    hall: Hall, said: object, told: float | None
) -> None:
    hall.service.accept(incoming("r1", "sleep"))
    hall.workers.loaded(warm_up_ms=said)
    kind, _, facts = hall.outcomes.events[-1]
    assert (kind, facts["warm_up_ms"]) == (EventKind.LOADED, told)


async def test_more_inputs_than_one_result_answers_are_refused_before_anything_is_loaded(
    hall: Hall,
) -> None:
    spec, entry = model("echo")
    hall.service.serve([(replace(spec, max_inputs=640), entry)])
    hall.service.accept(incoming("r1", inputs=641))
    assert hall.told == [("failed", "r1", Code.TOO_LARGE)]
    assert hall.workers.loads == {}
    hall.service.accept(incoming("r2", inputs=640))
    assert len(hall.workers.loads) == 1


async def test_who_waits_is_told(hall: Hall) -> None:
    for number in range(3):
        hall.service.accept(incoming(f"r{number}", tell=True))
    hall.service.line.tell()
    assert [what for what, _, _ in hall.told] == ["accepted"] * 3
    assert [hall.outcomes.positions[f"r{n}"].ahead for n in range(3)] == [0, 1, 2]
    assert hall.outcomes.positions["r0"].wait_s is None, "nothing was ever measured"


async def test_who_asked_for_progress_hears_of_the_start(hall: Hall) -> None:
    hall.service.accept(incoming("r1", progress=True))
    hall.service.accept(incoming("r2"))
    hall.workers.loaded()
    hall.workers.answer()
    assert [told for told in hall.told if told[0] == "started"] == [("started", "r1", "")]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"model": "nobody"}, Code.UNKNOWN_MODEL),
        ({"task": "sleep"}, Code.INVALID_INPUT),
        ({"parameters": {"x": 1}}, Code.UNKNOWN_PARAMETER),
        ({"model": "sleep", "parameters": {"ms": "1"}}, Code.INVALID_INPUT),
        ({"timeout_ms": 0}, Code.INVALID_INPUT),
        ({"timeout_ms": -5}, Code.INVALID_INPUT),
    ],
)
async def test_a_request_is_refused_at_the_door(
    hall: Hall, fields: dict[str, object], code: Code
) -> None:
    hall.service.accept(incoming("r1", **fields))  # type: ignore[arg-type]
    assert hall.told == [("failed", "r1", code.value)]
    assert hall.workers.loads == {}


async def test_a_deadline_counts_from_the_append(hall: Hall) -> None:
    old = FakeRecord(timestamp=UNIX_MS - 10_000)
    hall.service.accept(incoming("r1", record=old, timeout_ms=10_000))
    assert hall.told == [("failed", "r1", "expired")]
    hall.service.accept(incoming("r2", record=old, timeout_ms=10_001))
    assert len(hall.told) == 1


async def test_the_default_timeout_is_the_setting(hall: Hall) -> None:
    hall.service.accept(incoming("r1", record=FakeRecord(timestamp=UNIX_MS - 60_000)))
    assert hall.told == [("failed", "r1", "expired")]


async def test_what_waits_expires_without_any_other_event(hall: Hall) -> None:
    expired = asyncio.Event()
    hall.outcomes.on_told = expired.set
    hall.service.accept(incoming("r1", timeout_ms=5))
    hall.time.now += 0.005
    hall.service.arm()
    await asyncio.wait_for(expired.wait(), CAP_S)
    assert hall.told == [("failed", "r1", "expired")]


async def test_the_longest_timeout_that_can_be_asked_for(hall: Hall) -> None:
    hall.service.accept(incoming("r1", timeout_ms=2**63 - 1))
    hall.service.arm()
    assert hall.told == []


async def test_before_the_first_timestamp_nothing_expires() -> None:
    hall = Hall()
    clock = BrokerClock(hall.time)
    service = Service(hall.outcomes, clock, Policy(), 1, hall.time)
    service.use(hall.workers)
    service.serve([model("echo")])
    service.accept(incoming("r1", timeout_ms=1))
    service.arm()
    assert hall.told == []


async def test_an_error_of_one_item_is_its_own(hall: Hall) -> None:
    for name in ("r1", "r2"):
        hall.service.accept(incoming(name))
    hall.workers.loaded()
    group = next(group for group in hall.workers.groups if len(group.works) == 2)
    results = [
        ItemResult(0, None, RequestError(Code.INVALID_INPUT, "too long"), 0.0),
        ItemResult(1, b"\x00", None, 1.0),
    ]
    hall.service.listener.on_results(group.replica, group.id, results)
    assert hall.told == [("failed", "r1", "invalid_input"), ("completed", "r2", "")]
    assert hall.outcomes.exit_codes["r1"] is None


async def test_poison_is_failed_with_the_exit_code(hall: Hall) -> None:
    hall.service.accept(incoming("r1"))
    for _ in range(2):
        hall.workers.loads = dict([list(hall.workers.loads.items())[-1]])
        hall.workers.loaded()
        hall.exited(ExitReason.CRASHED)
    assert hall.told == [("failed", "r1", "worker_crash")]
    assert hall.outcomes.exit_codes["r1"] == -9
    kinds = [kind for kind, _, _ in hall.outcomes.events]
    assert kinds.count(EventKind.CRASHED) == 2


async def test_an_unload_carries_its_proof(hall: Hall) -> None:
    hall.service.load(ECHO)
    hall.workers.loaded()
    hall.service.unload(ECHO)
    assert hall.workers.kills == [(hall.child(), "unload")]
    hall.exited(ExitReason.KILLED)
    kind, key, facts = hall.outcomes.events[-1]
    assert (kind, key) == (EventKind.UNLOADED, ECHO)
    assert facts["returned_share"] == 1.0
    assert (facts["tree_before_bytes"], facts["tree_after_bytes"]) == (1000, 900)


@pytest.mark.parametrize(
    ("private", "before", "after", "alone", "share"),
    [
        (100, 1000, 900, True, 1.0),
        (100, 1000, 950, True, 0.5),
        (100, 1000, 891, True, 1.0),
        (100, 1 << 30, 100, True, None),
        (100, 1000, 1137, True, None),
        (100, 1000, 950, False, None),
        (0, 1000, 900, True, None),
        (100, 0, 0, True, None),
    ],
)
def test_a_share_is_one_or_is_not_told(
    private: int, before: int, after: int, alone: bool, share: float | None
) -> None:
    report = ExitReport(ExitReason.KILLED, "unload", -9, private, before, after, alone)
    assert report.returned_share == share


async def test_every_event_of_a_model_has_the_facts_of_its_kind(hall: Hall) -> None:
    hall.service.accept(incoming("r1"))
    hall.service.listener.on_load_failed(hall.child(), Code.MODEL_UNAVAILABLE, "no weights")
    hall.exited(ExitReason.LOAD_FAILED, 0)
    hall.service.load(ECHO)
    hall.workers.loaded()
    hall.exited(ExitReason.CRASHED)
    hall.service.load(ECHO)
    hall.workers.loaded()
    hall.service.unload(ECHO)
    hall.exited(ExitReason.KILLED)
    told = hall.outcomes.events
    kinds = {kind for kind, _, _ in told}
    assert kinds >= {EventKind.LOADING, EventKind.LOADED, EventKind.LOAD_FAILED}
    assert kinds >= {EventKind.CRASHED, EventKind.UNLOADED}
    for kind, key, facts in told:
        assert faults(LifecycleEvent("id", kind, "n", 0, *key, facts)) == []
    reasons = [
        f["reason"] for kind, _, f in told if kind in (EventKind.UNLOADED, EventKind.CRASHED)
    ]
    assert reasons == ["load_failed", "crashed", "gone"], "why, in a word"


async def test_a_failed_load_is_told_to_those_who_wait(hall: Hall) -> None:
    hall.service.accept(incoming("r1"))
    hall.service.listener.on_load_failed(hall.child(), Code.MODEL_UNAVAILABLE, "no weights")
    assert hall.told == [("failed", "r1", "model_unavailable")]
    assert (hall.outcomes.errors["r1"].retry_after_ms or 0) > 0


async def test_a_broken_model_is_asked_for_elsewhere_and_else_its_fault_is_told(
    hall: Hall,
) -> None:
    spec, entry = model("echo")
    hall.service.serve([(replace(spec, fault="cut off"), entry), model("sleep")])
    assert hall.service.standing() == {
        "sleep@1": ("sleep", Health(State.COLD)),
        "echo@1": ("echo", Health(State.FAILED, "cut off")),
    }
    asked: list[RequestError] = []
    hall.service.elsewhere = lambda _, error: asked.append(error)
    hall.service.accept(incoming("r1"))
    assert [error.code for error in asked] == [Code.CANNOT_BE_SERVED]
    assert hall.told == []
    hall.service.elsewhere = lambda _, error: error
    hall.service.accept(incoming("r2"))
    assert hall.told == [("failed", "r2", Code.CANNOT_BE_SERVED)]
    assert hall.outcomes.errors["r2"].message == "echo@1 cannot be loaded: cut off"
    assert hall.workers.loads == {}


async def test_dropped_work_has_no_outcome_here(hall: Hall) -> None:
    theirs = FakeRecord(partition=1)
    hall.service.accept(incoming("r1"))
    hall.service.accept(incoming("r2", record=theirs))
    (dropped,) = hall.service.drop({("modelmora.requests.normal", 1)}, started=False)
    assert dropped is theirs
    hall.workers.loaded()
    hall.workers.answer()
    assert hall.told == [("completed", "r1", "")]


async def test_draining_waits_for_what_was_started(hall: Hall) -> None:
    partition = {("modelmora.requests.normal", 0)}
    hall.service.accept(incoming("r1"))
    assert await hall.service.drain(partition, 0), "it only waits"
    hall.workers.loaded()
    assert not await hall.service.drain(partition, 0)
    draining = asyncio.create_task(hall.service.drain(partition, CAP_S))
    await asyncio.sleep(0)
    hall.workers.answer()
    assert await asyncio.wait_for(draining, CAP_S)


async def test_what_is_served_no_more_is_refused(hall: Hall) -> None:
    hall.service.accept(incoming("r1"))
    hall.service.serve([model("sleep")])
    hall.service.accept(incoming("r2"))
    assert hall.told == [("failed", "r1", "unknown_model"), ("failed", "r2", "unknown_model")]
    with pytest.raises(NotFound):
        hall.service.named("echo")
    with pytest.raises(NotFound):
        hall.service.load(ECHO)


async def test_another_node_may_take_what_this_one_lacks(hall: Hall) -> None:
    taken: list[str] = []
    why = RequestError(Code.MODEL_UNAVAILABLE, "not now")

    def elsewhere(request: Incoming, unknown: RequestError) -> RequestError | None:
        assert unknown.code is Code.UNKNOWN_MODEL
        taken.append(request.head.request_id)
        return None if request.head.model == "theirs" else why

    hall.service.elsewhere = elsewhere
    hall.service.cancel("c")
    for request_id, name in (("a", "theirs"), ("b", "gone"), ("c", "theirs")):
        hall.service.accept(incoming(request_id, name))
    assert taken == ["a", "b"]
    assert hall.told == [("failed", "b", "model_unavailable"), ("failed", "c", "cancelled")]


async def test_a_deadline_counts_from_the_first_append(hall: Hall) -> None:
    request = incoming("late", timeout_ms=1000)
    request.handed_on = HandedOn(1, 0, 0, UNIX_MS - 2000, "modelmora.requests.normal")
    hall.service.accept(request)
    assert hall.told == [("failed", "late", "expired")]
    assert hall.outcomes.timings["late"].total_ms == 2000


async def test_whether_memory_can_hold_a_model_is_judged_once_for_a_request(hall: Hall) -> None:
    hall.service.accept(incoming("r1"))
    hall.service.listener.on_load_failed(hall.child(), Code.MODEL_UNAVAILABLE, "no weights")
    hall.exited(ExitReason.LOAD_FAILED, 0)
    with patch.object(Ledger, "fits", autospec=True, side_effect=Ledger.fits) as judged:
        hall.service.accept(incoming("r2"))
    assert hall.told[-1] == ("failed", "r2", Code.MODEL_UNAVAILABLE)
    assert judged.call_count == 1


async def test_a_request_of_one_principal_does_not_wait_behind_all_of_another(hall: Hall) -> None:
    for number in range(1000):
        request = incoming(f"many{number}", "sleep")
        request.principal = "many"
        hall.service.accept(request)
    request = incoming("one", "sleep")
    request.principal = "one"
    hall.service.accept(request)
    hall.workers.loaded()
    assert "one" in [work.request_id for work in hall.workers.groups[0].works]
