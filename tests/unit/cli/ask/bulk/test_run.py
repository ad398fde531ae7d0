"""Bulk runs of the command against a gateway's own gRPC door, whole and broken off."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelmora.client import AsyncClient
from modelmora.errors import Code
from modelmora.gateway.caller import said
from modelmora.gateway.doors.grpc.server import RpcServer
from modelmora.gateway.hall import Ask, Heard
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import Refusal
from modelmora.messages import Content, InferenceResult, ObjectRef, Source, Status, Tensor
from tests.programs import eventually
from tests.unit.cli.ask.bulk.doubles import WIDTH, jsonl, numbers_of, vector_of
from tests.unit.cli.runs import Cli, Door, door
from tests.unit.gateway.fakes import FakeHall

MODELS = {
    "models": [
        {"name": "m", "version": "7", "max_inputs": 10, "task": "txt2embed"},
        {"name": "writer", "version": "7", "max_inputs": 10, "task": "txt2txt"},
        {"name": "rerank", "version": "7", "max_inputs": 10, "task": "rerank"},
    ]
}
BUSY = Refusal(Code.UNKNOWN_MODEL, "there is no model m any more")


class Hall(FakeHall):
    """Makes vectors, or texts where the model is `writer`; a text that begins with `bad` fails."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 1 << 30
        """After so many texts it waits for `go`, or refuses."""
        self.go = threading.Event()
        self.refuse: Refusal | None = None
        self.texts: list[str] = []
        self.instead: tuple[Content, ...] = ()
        """What is answered instead of vectors."""

    async def infer(self, ask: Ask, heard: Heard | None = None) -> InferenceResult:
        self.asks.append(ask)
        texts = [str(each) for each in ask.inputs]
        if any(text.startswith("bad") for text in texts):
            raise Refusal(Code.INVALID_INPUT, "it is bad")
        if len(self.texts) >= self.most:
            if self.refuse:
                raise self.refuse
            while not self.go.is_set():  # noqa: ASYNC110 - another loop sets it
                await asyncio.sleep(0.01)
        self.texts += texts
        name = ask.model.partition("@")[0]
        vectors = b"".join(map(vector_of, texts))
        outputs = self.instead or (Tensor("embedding", "FP32", (len(texts), WIDTH), vectors),)
        source, request_id = Source("t", 0, 0), ask.request_id or ""
        return InferenceResult(
            request_id,
            Status.COMPLETED,
            name,
            "7",
            source,
            outputs=tuple(text.upper() for text in texts) if name == "writer" else outputs,
        )


class Rig:
    """A gateway in a thread, and the command that asks it."""

    def __init__(self, cli: Cli, gateway: Door) -> None:
        self.hall = Hall()
        self.grpc = ""
        self._cli, self._gateway = cli, gateway
        self._ready, self._ending = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),))
        self._thread.start()
        assert self._ready.wait(30)

    async def _serve(self) -> None:
        server = RpcServer(self.hall, Metrics(), 1_000_000)
        self.grpc = f"127.0.0.1:{await server.start('127.0.0.1', 0)}"
        self._ready.set()
        while not self._ending.is_set():  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.02)
        await server.stop(0)

    def words(self, file: Path, out: Path | str, model: str = "m", *more: str) -> list[str]:
        return [
            *("infer", model, "--file", str(file), "--out", str(out)),
            *("--url", self._gateway.url, "--grpc", self.grpc, *more),
        ]

    def run(self, file: Path, out: Path | str, model: str = "m", *more: str) -> Any:
        return self._cli(*self.words(file, out, model, *more))

    def close(self) -> None:
        self.hall.go.set()
        self._ending.set()
        self._thread.join()


@pytest.fixture
def rig(cli: Cli) -> Iterator[Rig]:
    with door({"/models": (200, MODELS)}) as gateway:
        made = Rig(cli, gateway)
        yield made
        made.close()


def outputs(path: Path | str) -> list[Any]:
    return [json.loads(line).get("output") for line in Path(path).read_text().splitlines()]


def test_vectors_in_order_by_one_version(rig: Rig) -> None:
    texts = [f"text {n}" for n in range(995)]
    ran = rig.run(jsonl(Path("in.jsonl"), *texts), "out.jsonl", "m", "--header", "x-cohort=b")
    assert (ran.code, ran.out, ran.err) == (0, "", "995 rows in out.jsonl\n")
    assert {said(ask.headers, "x-cohort") for ask in rig.hall.asks} == {"b"}
    assert outputs("out.jsonl") == [numbers_of(text) for text in texts]
    assert [ask.model for ask in rig.hall.asks] == ["m"] + ["m@7"] * 99
    assert sorted(Path().iterdir()) == [Path("in.jsonl"), Path("out.jsonl")]
    ran = rig.run(Path("in.jsonl"), "out.jsonl")
    assert (ran.code, "is there already" in ran.err) == (2, True)


def test_vectors_by_reference_are_fetched(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = b"".join(map(vector_of, ["a", "b"]))
    ref = ObjectRef("s3://b/k", "0" * 64, len(whole), "application/octet-stream", 0)

    async def fetch(_client: AsyncClient, output: Content) -> Content:
        assert output == ref
        return Tensor("", "FP32", (2, WIDTH), whole)

    monkeypatch.setattr(AsyncClient, "fetch", fetch)
    rig.hall.instead = (ref,)
    assert rig.run(jsonl(Path("in.jsonl"), "a", "b"), "out.jsonl").code == 0
    assert outputs("out.jsonl") == [numbers_of("a"), numbers_of("b")]


def test_texts_are_written_one_by_one(rig: Rig) -> None:
    Path("in.csv").write_text("q\none\ntwo\n")
    assert rig.run(Path("in.csv"), "out.jsonl", "writer", "--param", "n=1").code == 0
    assert outputs("out.jsonl") == ["ONE", "TWO"]
    assert [ask.parameters for ask in rig.hall.asks] == [{"n": 1}] * 2
    ran = rig.run(Path("in.csv"), "out.npy", "writer")
    assert (ran.code, ran.err.splitlines()[-1]) == (
        1,
        "modelmora: the model answers no vectors; name a .jsonl file for --out",
    )


def test_bad_rows_are_told_and_stop_nothing(rig: Rig) -> None:
    texts = ["a", "bad 1", *"bcd", "bad 2", *map(str, range(20))]
    file = jsonl(Path("in.jsonl"), *texts)
    with file.open("a") as more:
        more.write("{broken\n")
    ran = rig.run(file, "out.jsonl")
    assert (ran.code, ran.err) == (1, "27 rows in out.jsonl\n3 rows failed\n")
    expected = [None if text.startswith("bad") else numbers_of(text) for text in texts]
    assert outputs("out.jsonl") == [*expected, None]
    errors = [json.loads(line).get("error") for line in Path("out.jsonl").read_text().splitlines()]
    assert errors[1] == {"code": "invalid_input", "message": "it is bad"}
    assert errors[26] == {"code": "invalid_input", "message": "the line is no JSON in UTF-8"}
    assert rig.run(file, "out.npy").err.endswith("failed; see out.npy.errors.jsonl\n")


def test_nothing_at_all(rig: Rig) -> None:
    for ending in ("jsonl", "npy", "parquet"):
        ran = rig.run(jsonl(Path("in.jsonl")), f"out.{ending}")
        assert (ran.code, ran.err) == (0, f"0 rows in out.{ending}\n")
    assert rig.hall.asks == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rerank", "--file", "in.jsonl", "--out", "o.jsonl"], "belong together"),
        (["m", "--file", "in.jsonl"], "--file needs --out"),
        (["m", "text", "--file", "in.jsonl", "--out", "o.jsonl"], "--file needs --out"),
        (["m", "--file", "none.jsonl", "--out", "o.jsonl"], "--file none.jsonl is not there"),
        (["m", "--file", "in.jsonl", "--out", "none/o.jsonl"], "No such file"),
        (["m", "--file", "in.xml", "--out", "o.jsonl"], "must end in one of .csv"),
    ],
)
def test_what_cannot_be_run(rig: Rig, cli: Cli, words: list[str], said: str) -> None:
    for name in ("in.jsonl", "in.xml"):
        Path(name).write_text("x\n")
    ran = cli("infer", *words, "--url", rig._gateway.url, "--grpc", rig.grpc)
    assert ran.code in (1, 2)
    assert said in ran.err.splitlines()[-1]
    assert rig.hall.asks == []


def test_where_it_cannot_go_on_it_says_so_and_goes_on_later(rig: Rig) -> None:
    texts = [f"text {n}" for n in range(300)]
    file = jsonl(Path("in.jsonl"), *texts)
    rig.hall.most, rig.hall.refuse = 100, BUSY
    ran = rig.run(file, "out.npy")
    assert ran.code == 3
    done, why = ran.err.splitlines()
    assert why == "modelmora: there is no model m any more"
    assert done.endswith("rows done; the same command goes on from there")
    assert not Path("out.npy").exists()
    for words, what in (("other", "column"), ("", "file")):
        other = jsonl(Path("other.jsonl"), "x") if what == "file" else file
        more = ["--column", words] if words else []
        told = rig.run(other, "out.npy", "m", *more)
        assert told.err == (
            f"modelmora: out.npy.part was begun with another {what}; remove it to begin anew\n"
        )
    rig.hall.most, before = 1 << 30, len(rig.hall.texts)
    assert rig.run(file, "out.npy").code == 0
    assert 0 < len(rig.hall.texts) - before < 300
    assert rig.hall.asks[-1].model == "m@7"
    rig.run(file, "whole.npy")
    assert Path("out.npy").read_bytes() == Path("whole.npy").read_bytes()


def test_broken_off_and_gone_on_with(rig: Rig) -> None:
    texts = [f"text {n}" if n % 50 else f"bad {n}" for n in range(700)]
    file = jsonl(Path("in.jsonl"), *texts)
    assert rig.run(file, "whole.jsonl").code == 1
    command = [sys.executable, "-m", "modelmora.cli", *rig.words(file, "out.jsonl")]
    for number, code in ((signal.SIGINT, 130), (signal.SIGKILL, -9)):
        rig.hall.texts.clear()
        rig.hall.most = 200
        with subprocess.Popen(command) as process:
            try:
                eventually(lambda: len(rig.hall.texts) >= rig.hall.most, "what is let through")
            finally:
                process.send_signal(number)
            assert process.wait(60) == code
    rig.hall.most = 1 << 30
    rig.hall.texts.clear()
    assert rig.run(file, "out.jsonl").code == 1
    assert 0 < len(rig.hall.texts) < 400
    assert Path("out.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()
