"""Descriptors that run out: nothing ends or is lost sight of, and all serve when there are some."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Self

import grpc
import httpx
import pytest

from modelmora.broker import EmbeddedBroker
from modelmora.messages import Status
from modelmora.rpc.v1 import inference_pb2 as pb
from modelmora.rpc.v1 import inference_pb2_grpc as pb_grpc
from modelmora.workers.exits import wait_exit
from tests.faults.recording import Figures
from tests.foreign import draft
from tests.integration.test_nodes import CAP_S, Yard
from tests.integration.worker_rig import Spec, load, supervised
from tests.nodes import GatewayProcess, Observer
from tests.programs import alive, eventually

# A process may go on with what it has; poll(2) refuses to look at more than so many at once.
NO_MORE = 16
FEW = 256
MANY = 400


@contextmanager
def none_left(*pids: int, limit: int = NO_MORE) -> Iterator[None]:
    """These processes open nothing more meanwhile."""
    before = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in pids}
    for pid, (_, hard) in before.items():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield
    finally:
        for pid, limits in before.items():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


async def test_a_process_that_cannot_be_watched_yet_is_watched_later() -> None:
    with subprocess.Popen(["true"]) as process:  # noqa: ASYNC220 - it ends at once
        with none_left(os.getpid(), limit=3):
            waiting = asyncio.create_task(wait_exit(process.pid))
            await asyncio.sleep(0)
        process.returncode = await waiting
        assert process.returncode == 0


@pytest.mark.row("F26")
async def test_children_are_not_lost_sight_of() -> None:
    """One that ends meanwhile is told with its exit code, and what it leaves is ended later."""
    async with supervised(modules=["tests.integration.worker_helpers"]) as (supervisor, recorder):
        await load(supervisor, recorder, 1, Spec(engine="tests.integration.worker_helpers:Parent"))
        helper = recorder.info[1]["helper"]
        assert isinstance(helper, int)
        with none_left(os.getpid(), limit=3):
            os.kill(supervisor.pids[1], signal.SIGKILL)
            await recorder.wait("exited", 1)
            await asyncio.sleep(0.1)  # whoever keeps house has been told, and cannot look
        assert recorder.reports[1][0].exit_code == -signal.SIGKILL
        await asyncio.to_thread(eventually, lambda: not alive(helper), "its helper's end", CAP_S)


@pytest.mark.row("F26")
@pytest.mark.faults
def test_a_node_without_any_answers_once_there_are_some(
    broker: EmbeddedBroker, namespace: str, tmp_path: Path, figures: Figures
) -> None:
    yard = Yard(broker, namespace, tmp_path)
    with yard.node() as node, closing(Observer(yard.servers, namespace)) as seen:
        seen.answers([each.request_id for each in yard.send([draft("echo", ["before"])])])
        assert node.zygote is not None
        child = node.models()["echo"]["pid"]
        with none_left(node.process.pid, node.zygote):
            os.kill(child, signal.SIGKILL)
            waiting = yard.send(draft(model, ["x"]) for model in ("echo", "sleep", "count") * 4)
            refused = "no process could be started: Too many open files"
            eventually(lambda: refused in node.log_since_start(), "a child that cannot be", CAP_S)
        ended = time.monotonic()
        answers = seen.answers(each.request_id for each in waiting)
        figures.recovered(time.monotonic() - ended)
        assert {each.status for each in answers} == {Status.COMPLETED}
        yard.answered()
        assert node.stop() == 0
    verdict = yard.verdict()
    assert verdict.violations == ()
    figures.judged(verdict, faults=1)


class Poor(GatewayProcess):
    """A gateway that may open few files, whatever it asks for."""

    def start(self) -> Self:
        super().start()
        resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (FEW, FEW))
        return self


@pytest.mark.row("F23", "F26")
def test_who_only_sits_there_takes_no_descriptor_of_those_who_ask(
    broker: EmbeddedBroker, namespace: str, tmp_path: Path, figures: Figures
) -> None:
    yard = Yard(broker, namespace, tmp_path)
    with yard.node() as node, ExitStack() as stack:
        gateway = stack.enter_context(Poor(yard.servers, namespace, tmp_path))
        stub = pb_grpc.InferenceServiceStub(  # type: ignore[no-untyped-call]
            stack.enter_context(grpc.insecure_channel(gateway.grpc))
        )

        def served() -> None:
            """Over a new connection, and over one that was there before."""
            answer = httpx.post(f"{gateway.http}/infer/echo", json={"inputs": "x"}, timeout=CAP_S)
            assert answer.json()["outputs"] == ["x"], answer.text
            ask = pb.InferRequest(model="echo", inputs=[pb.Content(text="x")])
            assert stub.Infer(ask, timeout=CAP_S).outputs[0].text == "x"
            figures.add(requests=2)

        served()
        for door in (gateway.http, gateway.grpc):
            host, _, port = door.rpartition("//")[2].rpartition(":")
            for _ in range(MANY):
                stack.enter_context(socket.create_connection((host, int(port)), CAP_S))
            figures.add(faults=MANY)
            served()
        assert node.stop() == 0
