"""Batches over the topics, by OpenAI's own client: answered at any gateway."""

from __future__ import annotations

from pathlib import Path

import openai
import pytest

from tests.integration.doors.batch_rig import PATH, clients, ended, gateways, rows, written
from tests.programs import eventually

__all__ = ["clients", "gateways"]


def test_any_gateway_tells_of_a_batch(clients: list[openai.OpenAI], tmp_path: Path) -> None:
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
    clients: list[openai.OpenAI], tmp_path: Path
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
