"""A child that says anything: what it is owed is believed, all else is the end of it."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import random
import secrets
import signal
import socket
import struct
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from modelmora.resources import private_memory
from modelmora.workers import Batches, Chunk, ExitReason
from modelmora.workers import protocol as p
from modelmora.workers.batches import encode_batches
from tests.faults.recording import Figures
from tests.integration.worker_rig import Recorder, Spec, group, load, supervised

MORE = 64 << 20
"""What a node may hold more behind all of them."""
ITEMS = 3
BIG = (1 << 32) - 1


def anything(chance: random.Random, most: int) -> bytes:
    return chance.randbytes(chance.randrange(most))


def number(chance: random.Random) -> int:
    return chance.choice((0, 1, ITEMS - 1, ITEMS, 7, BIG))


def time(chance: random.Random) -> float:
    return chance.choice((0.0, 0.0, 5.0, -1.0, math.inf, math.nan))


def item(chance: random.Random) -> bytes:
    payload = chance.choice((b"", b"\0", b"{}", b'{"code": "busy", "message": "x"}', b"\xff" * 9))
    odd: tuple[dict[str, Any] | None, ...] = (None, None, {"a": 1}, {"a": {}}, {"a": 1 << 70})
    settings = chance.choice(odd)
    with contextlib.suppress(TypeError):  # an integer that JSON does not take
        return p.encode_item(number(chance), chance.random() < 0.7, time(chance), payload, settings)
    return anything(chance, 40)


TOLD: tuple[Callable[[random.Random, int], bytes], ...] = (
    lambda chance, owed: p.encode_started(owed),
    lambda chance, owed: p.encode_done(owed, time(chance)),
    lambda chance, owed: p.encode_results(owed, [item(chance) for _ in range(chance.randrange(4))]),
    lambda chance, owed: p.encode_chunk(
        owed, Chunk(number(chance), number(chance), "a" * chance.randrange(9))
    ),
    lambda chance, owed: p.encode_json(p.Kind.LEARNED, {"cost": chance.choice((1, 0, "x", 1.5))}),
    lambda chance, owed: p.encode_json(p.Kind.LOADED, {"private_bytes": number(chance)}),
    lambda chance, owed: encode_batches(owed, Batches(rows=number(chance), cost=number(chance))),
    lambda chance, owed: p.frame(chance.choice([*p.Kind]), anything(chance, 60)),
    lambda chance, owed: struct.pack("<IB", number(chance), chance.randrange(256)),
    lambda chance, owed: anything(chance, 200),
)


def lies(chance: random.Random, owed: int) -> bytes:
    """What a child says of a group that it owes, of others, and of none."""
    said = bytearray()
    for _ in range(chance.randint(1, 12)):
        about = owed if chance.random() < 0.8 else number(chance)
        frame = bytearray(chance.choice(TOLD)(chance, about))
        if frame and chance.random() < 0.1:
            frame[chance.randrange(len(frame))] ^= 1 << chance.randrange(8)
        said += frame
    return bytes(said)


class Liar:
    """A process that only sits there, whose socket is ours."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(["sleep", "600"])
        self.ours, self.theirs = socket.socketpair()

    async def says(self, words: bytes) -> None:
        """All of it, as long as anybody listens."""
        self.theirs.setblocking(False)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            await asyncio.get_running_loop().sock_sendall(self.theirs, words)


def believed(recorder: Recorder, replica: int, owed: int) -> None:
    """Nothing was taken from it but what it owed; `Recorder` fails for what came twice."""
    others = {number for kind, number in recorder.log if kind in ("done", "started", "results")}
    assert others <= set(range(1, owed + 1))
    assert set(recorder.results.get(owed, {})) <= set(range(ITEMS))
    assert all(0 <= each.inference_ms <= 5 for each in recorder.results.get(owed, {}).values())
    assert len(recorder.chunks.get(owed, ())) <= 9_999
    assert recorder.log.count(("done", owed)) <= 1
    assert recorder.log.count(("exited", replica)) == 1


@pytest.mark.row("F25")
@pytest.mark.parametrize("count", [60, pytest.param(2000, marks=pytest.mark.faults)])
async def test_whatever_a_child_says(
    count: int, monkeypatch: pytest.MonkeyPatch, figures: Figures
) -> None:
    seed = secrets.token_hex(8)
    print(f"seed {seed}")  # shown where it fails
    chance = random.Random(seed)
    liars: list[Liar] = []
    there = asyncio.Event()

    async def launch(
        _launcher: object, _visible: str, _runtime: str | None
    ) -> tuple[int, socket.socket]:
        liars.append(Liar())
        there.set()
        return liars[-1].process.pid, liars[-1].ours

    monkeypatch.setattr("modelmora.workers.launch.Launcher.launch", launch)
    held = private_memory(os.getpid())
    async with supervised() as (supervisor, recorder):
        for replica in range(1, count + 1):
            loading = asyncio.create_task(load(supervisor, recorder, replica, Spec()))
            await there.wait()
            there.clear()
            liar = liars[-1]
            await liar.says(p.encode_json(p.Kind.LOADED, {"private_bytes": 1}))
            await loading
            supervisor.run(group(replica, replica, [["a"]] * ITEMS))
            await liar.says(lies(chance, replica))
            liar.theirs.close()  # and where all it said was true, it is gone
            await recorder.wait("exited", replica)
            believed(recorder, replica, replica)
            reason = recorder.reports[replica][0].reason
            assert reason in (ExitReason.LIED, ExitReason.CRASHED)
            figures.add(faults=1)
    for liar in liars:
        liar.process.returncode = -signal.SIGKILL
    assert private_memory(os.getpid()) - held < MORE
    assert sum(r[0].reason is ExitReason.LIED for r in recorder.reports.values()) > count / 2
