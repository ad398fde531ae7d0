"""The examples of the gateway's own page: each runs as it stands."""

from __future__ import annotations

import html
import re
import shlex
from contextlib import suppress
from typing import Any

import httpx

from modelmora.errors import Conflict, NotFound
from modelmora.messages import Content, Tensor
from modelmora.records.verbs import activate
from modelmora.settings.canaries import CanaryPlan
from modelmora.wire.tensors import framed
from tests.unit.gateway.fakes import FakeHall, finished

ANSWERS: dict[str, tuple[Content, ...]] = {
    "smollm2": ("Hello.",),
    "all-minilm-l6-v2": (Tensor("embedding", "FP32", (1, 1), bytes(4)),),
    "my-diffusion": (b"PNG",),
    "my-reranker": (Tensor("scores", "FP32", (2,), bytes(8)),),
    "my-toxicity": (
        Tensor("scores", "FP32", (1, 1), bytes(4)),
        Tensor("labels", "BYTES", (1, 1), framed(b"toxic")),
    ),
    "smollm2@1": ("Hello.",),
}


async def with_ids(hall: FakeHall, example: str) -> str:
    """The example with the ids of a file and a batch that are there."""
    with hall.shelf.incoming(3) as (_, path):
        file = await hall.batches.add_file(path, "in.jsonl")
    batch = await hall.batches.create(file.id, "/v1/embeddings", None)
    return example.replace("FILE_ID", file.id).replace("BATCH_ID", batch.id)


async def register_two(client: httpx.AsyncClient) -> None:
    for version in ("1", "2"):
        model = {"name": "echo", "version": version, "task": "echo"}
        await client.post("/models", json=model | {"source": "builtin:echo"})


async def with_canary(hall: FakeHall, client: httpx.AsyncClient, *, runs: bool) -> None:
    """The second version may take over, or does."""
    await register_two(client)
    with suppress(NotFound, Conflict):
        await hall.registrar.abort_canary("echo")
    await hall.registrar.activate("echo", "1")
    if runs:
        await hall.registrar.start_canary("echo", CanaryPlan(candidate="2"))


async def test_every_example_of_the_docs_runs_as_it_stands(
    hall: FakeHall, client: httpx.AsyncClient
) -> None:
    hall.answers = dict(ANSWERS)
    await client.post("/infer/echo/async", json={"inputs": "x"}, headers={"x-request-id": "my-job"})
    await client.get("/jobs/my-job/events")
    hall.registry.register("smollm2", "txt2txt")
    hall.registry.register("my-toxicity", "classify")
    hall.jobs["local", "done"] = finished("done", b"PNG")
    await register_two(client)
    page = (await client.get("/docs")).text
    examples = [
        html.unescape(found) for found in re.findall(r"<pre>(curl .*?)</pre>", page, re.DOTALL)
    ]
    operations = [
        (method, path)
        for path, each in (await client.get("/openapi.json")).json()["paths"].items()
        for method in each
    ]
    assert len(examples) == len(operations)
    for example in examples:
        if "FILE_ID" in example or "BATCH_ID" in example:
            example = await with_ids(hall, example)
        _, url, *options = shlex.split(example.replace("\\\n", ""))
        if url.endswith("/route"):  # one of them was retired meanwhile
            await register_two(client)
        if url.endswith("/versions/1") and (  # what answers for its name is not retired
            other := activate(hall.registry.registrar.state, "echo", "2", "tests")
        ):
            hall.registry.write(other)
        if url.endswith("/canary"):
            await with_canary(hall, client, runs="-d" not in options)
        if "-F" in options:
            sent: Any = {"files": {"file": b"{}"}, "data": {"purpose": "batch"}}
            form = httpx.Request("POST", url, **sent)  # without the client's own content-type
            taken = await client.send(form)
            assert taken.status_code == 200, taken.text
            continue
        given = dict(zip(options[::2], options[1::2], strict=True))
        name, _, value = given.get("-H", "accept: */*").partition(": ")
        method = given.get("-X", "POST" if "-d" in given else "GET")
        answer = await client.request(
            method,
            url.replace("REQUEST_ID", "done"),
            content=given.get("-d"),
            headers={name: value},
        )
        assert answer.status_code in (200, 201, 202), (example, answer.text)
    assert "modelmora_gateway_waiting" in (await client.get("/metrics")).text
