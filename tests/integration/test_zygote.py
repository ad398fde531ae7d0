"""Zygotes that die, freeze and are followed by others, with real processes."""

from __future__ import annotations

import asyncio
import os
import signal

import psutil
import pytest

from modelmora.resources import private_memory
from modelmora.workers.supervisor import Supervisor
from tests.integration.worker_rig import (
    Recorder,
    Spec,
    answers,
    group,
    load,
    spec_of,
    supervised,
)
from tests.programs import eventually
from tests.topics import until


async def test_children_outlive_the_zygote_and_another_one_starts() -> None:
    async with supervised() as (supervisor, recorder):
        await load(supervisor, recorder, 1, spec_of("sleep"))
        supervisor.run(group(1, 1, [["a"]] * 20, ms=20.0))
        await recorder.wait("results", 1)
        first = supervisor.zygote_pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await recorder.wait("done", 1)
        await recorder.until(lambda: supervisor.zygote_pid not in {None, first})
        assert recorder.codes(1) == [None] * 20
        assert recorder.zygotes == [first, None, supervisor.zygote_pid]
        await load(supervisor, recorder, 2, Spec())
        assert (supervisor.zygote_starts, supervisor.forked) == (2, 2)


async def test_what_a_dead_zygote_leaves_to_its_children_is_not_learned_as_their_need(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("modelmora.workers.supervisor.SAMPLE_S", 0.05)
    async with supervised(["json.tool"]) as (supervisor, recorder):
        first = await ready_zygote(supervisor)
        await load(supervisor, recorder, 1, Spec())
        before = private_memory(supervisor.pids[1])
        os.kill(first, signal.SIGKILL)
        await recorder.until(lambda: supervisor.zygote_pid not in {None, first})
        await load(supervisor, recorder, 2, Spec())
        assert private_memory(supervisor.pids[1]) > before
        await answers(supervisor, recorder, group(1, 1, [["a"]]))
        await answers(supervisor, recorder, group(2, 2, [["a"]]))
        await recorder.until(lambda: all(sampled(recorder, replica) for replica in (1, 2)))
        assert recorder.held[1].private_bytes > before, "it counts against the budget"
        assert (recorder.held[1].cost, recorder.held[2].cost) == (None, 1)


def sampled(recorder: Recorder, replica: int) -> bool:
    held = recorder.held.get(replica)
    return held is not None and held.private_bytes > 0


async def test_children_of_a_retired_zygote_are_sampled_still(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("modelmora.workers.supervisor.SAMPLE_S", 0.05)
    async with supervised() as (supervisor, recorder):
        first = await ready_zygote(supervisor)
        await load(supervisor, recorder, 1, Spec())
        supervisor.preload(["json.tool"])
        await asyncio.to_thread(eventually, lambda: not psutil.pid_exists(first), "it is reaped")
        await recorder.until(lambda: supervisor.zygote_pids == {supervisor.zygote_pid})
        await answers(supervisor, recorder, group(1, 1, [["a"]]))
        await recorder.until(lambda: sampled(recorder, 1))
        assert recorder.held[1].cost is None, "no next child takes what is its alone now"


async def test_loads_that_begin_between_two_zygotes_wait_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("modelmora.workers.launch.FIRST_PAUSE_S", 0.3)
    async with supervised() as (supervisor, recorder):
        os.kill(await ready_zygote(supervisor), signal.SIGKILL)
        await recorder.until(lambda: supervisor.zygote_pid is None)
        for replica in range(3):
            supervisor.load(replica, Spec())
        for replica in range(3):
            await recorder.wait("loaded", replica)
        assert (supervisor.forked, supervisor.fresh_starts) == (3, 0)


async def test_a_load_survives_the_death_of_the_zygote_it_waits_for() -> None:
    async with supervised() as (supervisor, recorder):
        zygote = supervisor.zygote_pid
        assert zygote is not None
        os.kill(zygote, signal.SIGSTOP)
        supervisor.load(1, Spec())
        await asyncio.sleep(0)  # the fork is asked for
        os.kill(zygote, signal.SIGKILL)
        await recorder.wait("loaded", 1)
        assert (supervisor.forked, supervisor.fresh_starts) == (1, 0)
        await answers(supervisor, recorder, group(1, 1, [["a"]]))


async def test_many_loads_survive_it_and_share_the_next_one() -> None:
    async with supervised() as (supervisor, recorder):
        zygote = await ready_zygote(supervisor)
        for replica in range(10):
            supervisor.load(replica, Spec())
        await asyncio.sleep(0)
        os.kill(zygote, signal.SIGKILL)
        for replica in range(10):
            await recorder.wait("loaded", replica)
        assert (supervisor.forked, supervisor.fresh_starts) == (10, 0)


async def test_where_no_zygote_follows_soon_a_load_gets_a_fresh_interpreter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("modelmora.workers.launch.NEXT_S", 0.01)
    async with supervised() as (supervisor, recorder):
        zygote = supervisor.zygote_pid
        assert zygote is not None
        os.kill(zygote, signal.SIGSTOP)
        supervisor.load(1, Spec())
        await asyncio.sleep(0)
        os.kill(zygote, signal.SIGKILL)
        await recorder.wait("loaded", 1)
        assert supervisor.fresh_starts == 1


async def test_a_frozen_zygote_is_replaced_and_a_fork_that_waits_for_it_goes_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("modelmora.workers.handle.PING_S", 0.2)
    async with supervised() as (supervisor, recorder):
        frozen = await ready_zygote(supervisor)
        assert supervisor.zygote_silent_s == 0, "its imports count for nothing"
        os.kill(frozen, signal.SIGSTOP)
        supervisor.load(1, Spec())
        await until(lambda: supervisor.zygote_silent_s > 0)
        await recorder.wait("loaded", 1)
        await until(lambda: supervisor.zygote_silent_s == 0)
        assert supervisor.zygote_pid not in {None, frozen}
        await load(supervisor, recorder, 2, Spec())
        assert (supervisor.forked, supervisor.fresh_starts) == (2, 0)
        assert not psutil.pid_exists(frozen)


async def test_a_zygote_frozen_in_its_imports_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("modelmora.workers.handle.PING_S", 0.2)
    async with supervised() as (supervisor, recorder):
        frozen = supervisor.zygote_pid
        assert frozen is not None
        os.kill(frozen, signal.SIGSTOP)
        await recorder.until(lambda: supervisor.zygote_pid not in {None, frozen})
        await load(supervisor, recorder, 1, Spec())
        assert supervisor.forked == 1


async def test_a_task_with_other_modules_gets_a_second_zygote() -> None:
    async with supervised(["json"]) as (supervisor, recorder):
        await load(supervisor, recorder, 1, spec_of("sleep"))
        first = supervisor.zygote_pid
        assert first is not None
        supervisor.preload(["json"])  # known
        supervisor.preload(["json", "no_such_module_1"])
        supervisor.run(group(1, 1, [["a"]] * 20, ms=20.0))
        await recorder.wait("results", 1)
        assert supervisor.zygote_pid == first, "the first goes on until the second is ready"
        await recorder.until(lambda: supervisor.zygote_pid != first)
        facts = await supervisor.zygote_ready()
        assert facts["missing"] == ["no_such_module_1"]
        await load(supervisor, recorder, 2, Spec())
        await recorder.wait("done", 1)
        assert recorder.codes(1) == [None] * 20
        assert recorder.zygotes == [first, supervisor.zygote_pid]
        assert (supervisor.zygote_starts, supervisor.forked) == (2, 2)


async def test_a_second_zygote_that_dies_changes_nothing() -> None:
    async with supervised() as (supervisor, recorder):
        first = await ready_zygote(supervisor)
        supervisor.preload(["no_such_module_1"])
        (second,) = supervisor.zygote_pids - {first}
        os.kill(second, signal.SIGKILL)
        await asyncio.to_thread(eventually, lambda: not psutil.pid_exists(second), "it is reaped")
        await load(supervisor, recorder, 1, Spec())
        assert recorder.zygotes == [first]
        assert supervisor.forked == 1


async def ready_zygote(supervisor: Supervisor) -> int:
    await supervisor.zygote_ready()
    assert supervisor.zygote_pid is not None
    return supervisor.zygote_pid
