"""Batches over the topics, by OpenAI's own client: answered at any gateway, after kills too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import openai
import pytest

from modelmora.gateway.batches.running import PART_LINES
from tests.faults.recording import Figures
from tests.nodes import GatewayProcess
from tests.programs import eventually
from tests.stations import Station

CAP_S = 240
PATH: Any = "/v1/embeddings"
Pair = tuple[GatewayProcess, GatewayProcess]


@pytest.fixture(scope="module")
def gateways(
    station: Station, objects: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    shared = {"OBJECTS__FOLDER": objects}
    folders = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
    programs = [
        GatewayProcess(station.servers, station.namespace, folder, shared) for folder in folders
    ]
    with programs[0] as one, programs[1] as two:
        yield one, two


@pytest.fixture(scope="module")
def clients(gateways: Pair) -> Iterator[list[openai.OpenAI]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                openai.OpenAI(base_url=f"{each.http}/v1", api_key="none", timeout=60)
            )
            for each in gateways
        ]


def written(path: Path, count: int) -> Path:
    with path.open("w") as file:
        for number in range(count):
            body = {"model": "tiny", "input": f"say {number}"}
            line = {"custom_id": f"c{number}", "method": "POST", "url": PATH, "body": body}
            file.write(json.dumps(line) + "\n")
    return path


def ended(client: openai.OpenAI, batch_id: str) -> Any:
    def found() -> Any:
        batch = client.batches.retrieve(batch_id)
        return batch if batch.status in ("completed", "failed", "cancelled", "expired") else None

    return eventually(found, "the batch has ended", CAP_S)


def rows(client: openai.OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    assert file_id
    return [json.loads(each) for each in client.files.content(file_id).text.splitlines()]


def asked_once(station: Station, found: list[dict[str, Any]], before: set[str]) -> None:
    """Each line's request has one outcome, and there are no others since `before`."""
    ids = {each["response"]["request_id"] for each in found}
    station.seen.answers(ids)
    assert station.seen.results.keys() - before == ids


def test_any_gateway_tells_of_a_batch(
    station: Station, clients: list[openai.OpenAI], tmp_path: Path
) -> None:
    one, two = clients
    file = one.files.create(file=written(tmp_path / "in.jsonl", 300), purpose="batch")
    batch = two.batches.create(input_file_id=file.id, endpoint=PATH, completion_window="24h")
    batch = ended(one, batch.id)
    why = batch.error_file_id and rows(one, batch.error_file_id)[:2]
    assert (batch.status, batch.request_counts.completed) == ("completed", 300), why
    found = rows(two, batch.output_file_id)
    assert [each["custom_id"] for each in found] == [f"c{number}" for number in range(300)]
    (vector,) = found[7]["response"]["body"]["data"]
    (same,) = two.embeddings.create(model="tiny", input="say 7").data
    assert vector["embedding"] == pytest.approx(same.embedding, abs=1e-5)


def test_a_cancelled_batch_leaves_nothing_running(
    station: Station, clients: list[openai.OpenAI], tmp_path: Path
) -> None:
    one, two = clients
    file = one.files.create(file=written(tmp_path / "in.jsonl", 2000), purpose="batch")
    batch = one.batches.create(input_file_id=file.id, endpoint=PATH, completion_window="24h")
    eventually(lambda: one.batches.retrieve(batch.id).status == "in_progress", "it runs")
    one.files.delete(file.id)
    two.batches.cancel(batch.id)
    batch = ended(one, batch.id)
    assert batch.status == "cancelled"
    left = rows(one, batch.error_file_id)
    done = rows(one, batch.output_file_id) if batch.output_file_id else []
    assert len(left) + len(done) == 2000
    assert {each["error"]["code"] for each in left} == {"batch_cancelled"}


@pytest.mark.row("F16")
@pytest.mark.faults
def test_a_gateway_is_killed_at_work_on_a_batch(
    station: Station,
    gateways: Pair,
    clients: list[openai.OpenAI],
    tmp_path: Path,
    figures: Figures,
) -> None:
    count, before = 2 * PART_LINES, {*station.seen.results}
    file = clients[0].files.create(file=written(tmp_path / "in.jsonl", count), purpose="batch")
    batch = clients[0].batches.create(input_file_id=file.id, endpoint=PATH, completion_window="24h")

    def done() -> int:
        counts = clients[1].batches.retrieve(batch.id).request_counts
        return counts.completed if counts else 0

    eventually(lambda: PART_LINES < done() < count, "a part is done, and of the next a half", CAP_S)
    (at,) = [at for at, each in enumerate(gateways) if batch.id in each.log_since_start()]
    gateways[at].kill()
    batch = ended(clients[1 - at], batch.id)
    assert (batch.status, batch.request_counts.completed) == ("completed", count)
    assert '"term":2' in gateways[1 - at].log_since_start()
    found = rows(clients[1 - at], batch.output_file_id)
    assert [each["custom_id"] for each in found] == [f"c{number}" for number in range(count)]
    asked_once(station, found, before)
    figures.add(requests=count, faults=1, lost=0, contradicting=0, repeated=0)
