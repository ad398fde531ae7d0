"""Two gateways over one store of objects, and OpenAI's own client at each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import openai
import pytest

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
