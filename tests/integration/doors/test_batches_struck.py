"""A batch goes on at another gateway where the one that had it is killed."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import openai
import pytest

from modelmora.gateway.batches.running import PART_LINES
from tests.checker.reading import Cluster
from tests.faults.recording import Figures
from tests.integration.doors.batch_rig import (
    CAP_S,
    PATH,
    Pair,
    clients,
    ended,
    gateways,
    rows,
    written,
)
from tests.programs import eventually
from tests.stations import Station

__all__ = ["clients", "gateways"]


def all_told(station: Station) -> set[str]:
    """The ids of all outcomes, once whatever was asked by others before has one."""
    with closing(Cluster(station.servers, f"{station.namespace}.nodes")) as cluster:
        eventually(lambda: cluster.all_committed(station.namespace), "others have ended", CAP_S)
    station.seen.catch_up()
    return {*station.seen.results}


def asked_once(station: Station, found: list[dict[str, Any]], before: set[str]) -> None:
    """Each line's request has one outcome, and there are no others since `before`."""
    ids = {each["response"]["request_id"] for each in found}
    station.seen.answers(ids)
    assert station.seen.results.keys() - before == ids


@pytest.mark.row("F16")
@pytest.mark.faults
def test_a_gateway_is_killed_at_work_on_a_batch(
    station: Station,
    gateways: Pair,
    clients: list[openai.OpenAI],
    tmp_path: Path,
    figures: Figures,
) -> None:
    count, before = 2 * PART_LINES, all_told(station)
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
