"""OpenAI's own client: which model answers where none is named, and what moderation flags."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import httpx
import openai
import pytest

from modelmora.gateway.doors.openai.moderating import Rule
from modelmora.messages import RegistryKind, RegistryRecord, Tensor
from modelmora.wire.tensors import framed
from tests.unit.gateway.fakes import FakeHall
from tests.unit.gateway.test_openai import HELLO, PNG, client, hall, raw

__all__ = ["client", "hall", "raw"]


def labelled(*rows: dict[str, float]) -> tuple[Tensor, Tensor]:
    shape = (len(rows), len(rows[0]))
    numbers = [score for row in rows for score in row.values()]
    words = b"".join(framed(label.encode()) for row in rows for label in row)
    return (
        Tensor("scores", "FP32", shape, struct.pack(f"<{len(numbers)}f", *numbers)),
        Tensor("labels", "BYTES", shape, words),
    )


def register(hall: FakeHall, name: str, task: str, **metadata: Any) -> None:
    details = json.dumps({"metadata": metadata}) if metadata else ""
    hall.registry.register(name, task, details=details)


@pytest.fixture
def judge(hall: FakeHall) -> FakeHall:
    register(hall, "judge", "classify")
    hall.answers = {"judge": labelled({"toxic": 0.75, "safe": 0.25}, {"safe": 0.75, "toxic": 0.25})}
    return hall


async def test_every_label_is_asked_and_told(judge: FakeHall, client: openai.AsyncOpenAI) -> None:
    found = await client.moderations.create(model="judge", input=["one", "two"])
    (ask,) = judge.asks
    assert ask.inputs == ("one", "two")
    assert ask.parameters == {"top_k": 1 << 20}
    assert (found.id, found.model) == ("modr-made-here", "judge")
    bad, good = (each.model_dump() for each in found.results)
    assert (bad["flagged"], good["flagged"]) == (True, False)
    assert bad["categories"] == {**bad["categories"], "toxic": True, "safe": False}
    assert good["category_scores"]["toxic"] == 0.25
    assert bad["category_applied_input_types"]["toxic"] == ["text"]


async def test_parts_are_judged_as_one(judge: FakeHall, client: openai.AsyncOpenAI) -> None:
    url = "data:image/png;base64," + base64.b64encode(PNG).decode()
    parts: Any = [
        {"type": "text", "text": "one"},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    found = await client.moderations.create(model="judge", input=parts)
    assert judge.asks[0].inputs == ("one", PNG)
    (verdict,) = (each.model_dump() for each in found.results)
    assert verdict["category_scores"]["toxic"] == verdict["category_scores"]["safe"] == 0.75
    assert verdict["category_applied_input_types"]["toxic"] == ["image", "text"]


async def test_the_rule_is_the_requests_then_the_models(
    judge: FakeHall, client: openai.AsyncOpenAI, raw: httpx.AsyncClient
) -> None:
    register(judge, "strict", "classify", moderation_threshold=0.2)
    register(judge, "mild", "classify", moderation_harmless=["Toxic"])
    judge.answers |= dict.fromkeys(("strict", "mild"), judge.answers["judge"])

    async def flagged(model: str, **more: Any) -> list[bool]:
        found = await client.moderations.create(model=model, input=["a", "b"], extra_body=more)
        return [each.flagged for each in found.results]

    assert await flagged("judge", threshold=0.2) == [True, True]
    assert await flagged("judge", threshold=0.8) == [False, False]
    assert await flagged("strict") == [True, True]
    assert await flagged("strict", threshold=0.5) == [True, False]
    assert await flagged("mild") == [False, False]
    for wrong in (-0.1, 1.1, "0.5", True):
        answer = await raw.post("/moderations", json={"input": "a", "threshold": wrong})
        assert answer.status_code == 400, wrong


@pytest.mark.parametrize(
    ("label", "flags"),
    [
        ("toxic", True),
        ("LABEL_1", True),
        ("hate/threatening", True),
        ("nothing good", True),
        ("safe", False),
        (" Neutral ", False),
        ("non-toxic", False),
        ("not_hate", False),
        ("NO HATE", False),
        ("not_safe", True),
        ("Not Safe For Work", True),
        ("non-sfw", True),
        ("non-consensual", True),
        ("not ok", True),
        ("nontoxic", False),
        ("SFW", False),
        ("", True),
    ],
)
def test_harmless_labels_never_flag(label: str, flags: bool) -> None:
    assert Rule().flags(label, 1.0) is flags
    assert not Rule().flags(label, 0.49)


@pytest.mark.parametrize("told", ["0.9", None, [0.9], {}, True, 50, -1, float("nan")])
def test_metadata_that_is_no_rule_is_none(told: Any) -> None:
    assert Rule.of({"moderation_threshold": told}, None).threshold == 0.5


async def test_who_cannot_judge_is_refused(judge: FakeHall, raw: httpx.AsyncClient) -> None:
    for body, status in (
        ({"model": "echo", "input": "a"}, 400),
        ({"model": "none", "input": "a"}, 404),
        ({"model": "judge", "input": "a"}, 400),  # it answers for two
        ({"model": "judge", "input": []}, 400),
        ({"model": "judge", "input": [1]}, 400),
        ({"model": "judge", "input": ["a", {"type": "text", "text": "b"}]}, 400),
        ({"model": "judge", "input": [{"type": "image_url"}, {"type": "text"}]}, 400),
    ):
        answer = await raw.post("/moderations", json=body)
        assert answer.status_code == status, body
        assert answer.json()["error"]["code"]
    judge.answers["judge"] = labelled({"toxic": float("nan")})
    answer = await raw.post("/moderations", json={"model": "judge", "input": "a"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")


async def test_a_task_has_its_default(hall: FakeHall, raw: httpx.AsyncClient) -> None:
    hall.answers = {"b@1": ("from b",), "a@1": ("from a",)}
    body: dict[str, Any] = {"messages": HELLO}
    for given in ({}, {"model": ""}, {"model": "default"}, {"model": None}):
        answer = await raw.post("/chat/completions", json=body | given)
        assert answer.status_code == 404
        error = answer.json()["error"]
        assert (error["code"], error["message"]) == (
            "unknown_model",
            "no model is named, and none of task txt2txt is served",
        )
    assert not hall.asks
    for name in ("a", "b"):
        register(hall, name, "txt2txt")
    hall.registry.write(RegistryRecord(RegistryKind.DEFAULT, "b", "", "txt2txt", "", "tests"))
    for given in ({}, {"model": ""}, {"model": "default"}, {"model": None}):
        answer = await raw.post("/chat/completions", json=body | given)
        assert answer.json()["choices"][0]["message"]["content"] == "from b"
        assert answer.json()["model"] == "b"
        answer = await raw.post("/chat/completions", json=body | given | {"stream": True})
        assert b'"model":"b"' in answer.content
    assert (await raw.post("/chat/completions", json=body | {"model": "gpt-4o"})).status_code == 404
    assert (await raw.post("/embeddings", json={"input": "a"})).status_code == 404


async def test_a_default_for_images_reads_them(hall: FakeHall, raw: httpx.AsyncClient) -> None:
    url = "data:image/png;base64," + base64.b64encode(PNG).decode()
    said = [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": url}}]
    body = {"messages": [{"role": "user", "content": said}]}
    register(hall, "blind", "txt2txt")
    assert (await raw.post("/chat/completions", json=body)).status_code == 404
    register(hall, "eyes", "txt2txt", reads_images=True)
    hall.answers = {"eyes@1": ("I see",)}
    assert (await raw.post("/chat/completions", json=body)).status_code == 200


async def test_a_model_may_be_called_default(hall: FakeHall, raw: httpx.AsyncClient) -> None:
    register(hall, "a", "txt2txt")
    register(hall, "default", "txt2txt")
    await raw.post("/chat/completions", json={"model": "default", "messages": HELLO})
    assert hall.asks[0].model == "default"
