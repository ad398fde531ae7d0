"""What children hold: batches that fit are remembered, a GPU is waited for until it is empty."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from modelmora.messages import DeviceKind
from modelmora.resources import summed_pss
from modelmora.scheduling import Cause, Device, Need, Placement, ram
from modelmora.wire import encode_outputs
from modelmora.workers import Held, process
from tests.integration.worker_rig import Spec, answers, group, load, supervised
from tests.nvml import GIB, two_gpus
from tests.programs import alive, eventually

TIGHT = Spec(engine="tests.integration.worker_helpers:Tight")
GPU = Placement(Device("GPU-bbbb", DeviceKind.CUDA, GIB, "cuda:1"), Need(1, GIB), Cause.ORDER)


@pytest.mark.row("F3")
async def test_the_batch_that_fits_is_told_and_not_exceeded_after_the_next_load() -> None:
    async with supervised() as (supervisor, recorder):
        await load(supervisor, recorder, 1, TIGHT)
        outputs = await answers(supervisor, recorder, group(1, 1, [["x"]] * 20))
        assert outputs == [encode_outputs(["20"])] * 20
        await recorder.wait("memory", 1)
        safe = recorder.held[1].safe_cost
        assert safe == 5
        supervisor.kill(1, "unload")
        await recorder.wait("exited", 1)
        place = Placement(ram(GIB), Need(1), Cause.REQUESTS, safe)
        supervisor.load(2, TIGHT, place)
        await recorder.wait("loaded", 2)
        outputs = await answers(supervisor, recorder, group(2, 2, [["x"]] * 20))
        assert outputs == [encode_outputs(["5"])] * 20


async def test_of_many_that_end_together_each_says_what_it_held_and_none_claims_a_proof() -> None:
    heavy = Spec(engine="tests.integration.worker_helpers:Heavy")
    numbers = range(6)
    async with supervised() as (supervisor, recorder):
        for number in numbers:
            supervisor.load(number, heavy)
        for number in numbers:
            await recorder.wait("loaded", number)
        tree = [os.getpid(), *supervisor.zygote_pids]
        before = summed_pss([*tree, *supervisor.pids.values()])
        os.kill(supervisor.pids[0], signal.SIGSTOP)  # no matter to a kill
        for number in numbers:
            supervisor.kill(number, "unload")
        for number in numbers:
            await recorder.wait("exited", number)
        returned = before - summed_pss(tree)
    reports = [recorder.reports[number][0] for number in numbers]
    assert all(report.private_bytes >= 64 << 20 for report in reports)
    assert [report.returned_share for report in reports] == [None] * len(reports)
    assert returned >= 0.9 * sum(report.private_bytes for report in reports)


async def test_a_child_is_gone_when_its_gpu_has_its_memory_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver = two_gpus().install(monkeypatch)
    async with supervised() as (supervisor, recorder):
        supervisor.load(1, Spec(), GPU)
        await recorder.wait("loaded", 1)
        pid = supervisor.pids[1]
        driver.gpus[1].held = {pid: GIB, 1: GIB}
        supervisor.kill(1, "room")
        await asyncio.to_thread(eventually, lambda: not alive(pid), "the child is dead")
        assert 1 not in recorder.reports
        del driver.gpus[1].held[pid]
        await recorder.wait("exited", 1)
        (report,) = recorder.reports[1]
        assert (report.gpu_bytes, report.gpu_kept) == (GIB, 0)


async def test_a_gpu_that_keeps_memory_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver = two_gpus().install(monkeypatch)
    monkeypatch.setattr(process, "GPU_BACK_S", 0.1)
    async with supervised() as (supervisor, recorder):
        supervisor.load(1, Spec(), GPU)
        await recorder.wait("loaded", 1)
        driver.gpus[1].held = {supervisor.pids[1]: GIB}
        supervisor.kill(1, "room")
        await recorder.wait("exited", 1)
        (report,) = recorder.reports[1]
        assert (report.gpu_bytes, report.gpu_kept) == (GIB, GIB)


async def test_what_is_held_of_a_gpu_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = two_gpus().install(monkeypatch)
    monkeypatch.setattr("modelmora.workers.supervisor.SAMPLE_S", 0.05)
    async with supervised() as (supervisor, recorder):
        supervisor.load(1, Spec(), GPU)
        await asyncio.to_thread(eventually, lambda: 1 in supervisor.pids, "a child")
        driver.gpus[1].held = {supervisor.pids[1]: GIB}
        await recorder.wait("loaded", 1)
        await answers(supervisor, recorder, group(1, 1, [["a"]]))  # it may have been looked at
        await recorder.until(lambda: recorder.held.get(1, Held()).gpu_bytes == GIB)
        held: Held = recorder.held[1]
        assert held.private_bytes > 0
        driver.gpus[1].held.clear()
