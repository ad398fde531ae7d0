"""What no route answers is told in the words of the door that its path lies under."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from modelmora.gateway.doors.rest.routes import create_app
from modelmora.gateway.metrics import Metrics
from modelmora.web.problems import PROBLEM
from tests.unit.gateway.fakes import FakeHall

JSON = "application/json"


class Broken(FakeHall):
    def models(self) -> Any:
        raise RuntimeError("of whatever kind")

    health = models


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(Broken(), Metrics(), 100_000)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield client


def of_openai(body: dict[str, Any], code: str) -> None:
    assert [*body] == ["error"]
    assert sorted(body["error"]) == ["code", "message", "param", "type"]
    assert body["error"]["code"] == code
    assert body["error"]["type"] == (
        "server_error" if code == "internal" else "invalid_request_error"
    )


def of_oip(body: dict[str, Any], _code: str) -> None:
    assert [*body] == ["error"]
    assert isinstance(body["error"], str)


def of_miraveja(body: dict[str, Any], _code: str) -> None:
    assert [*body] == ["reason", "detail", "retryAfterSeconds"]


def of_rest(body: dict[str, Any], code: str) -> None:
    assert (body["code"], body["type"]) == (code, f"urn:modelmora:error:{code}")


@pytest.mark.parametrize(
    ("method", "path", "media", "shape"),
    [
        ("GET", "/v1", JSON, of_openai),
        ("GET", "/v1/nowhere", JSON, of_openai),
        ("POST", "/v1/nowhere/", JSON, of_openai),
        ("TRACE", "/v1/nowhere", JSON, of_openai),
        ("GET", "/v10/models", PROBLEM, of_rest),
        ("GET", "/v1x", PROBLEM, of_rest),
        ("GET", "http://gateway//v1/models", PROBLEM, of_rest),
        ("GET", "/v2/nowhere", JSON, of_oip),
        ("DELETE", "/v2/nowhere", JSON, of_oip),
        ("GET", "/v2x", PROBLEM, of_rest),
        ("GET", "/modelmora/v1/nowhere", JSON, of_miraveja),
        ("GET", "/modelmora/v1", JSON, of_miraveja),
        ("GET", "/modelmora", PROBLEM, of_rest),
    ],
)
async def test_nothing_is_there(
    method: str,
    path: str,
    media: str,
    shape: Callable[[dict[str, Any], str], None],
    client: httpx.AsyncClient,
) -> None:
    answer = await client.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (404, media)
    shape(answer.json(), "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed", "shape"),
    [
        ("GET", "/v1/embeddings", "OPTIONS, POST", of_openai),
        ("DELETE", "/v1/models", "GET, HEAD, OPTIONS", of_openai),
        ("GET", "/v2/repository/index", "OPTIONS, POST", of_oip),
        ("PUT", "/modelmora/v1/requests", "OPTIONS, POST", of_miraveja),
        ("PUT", "/infer/echo", "OPTIONS, POST", of_rest),
    ],
)
async def test_a_method_is_not_allowed(
    method: str,
    path: str,
    allowed: str,
    shape: Callable[[dict[str, Any], str], None],
    client: httpx.AsyncClient,
) -> None:
    answer = await client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    shape(answer.json(), "method_not_allowed")


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/v1/models", of_openai),
        ("/v2/models/echo", of_oip),
        ("/modelmora/v1/availability", of_miraveja),
        ("/health/models", of_rest),
    ],
)
async def test_the_door_itself_fails(
    path: str, shape: Callable[[dict[str, Any], str], None], client: httpx.AsyncClient
) -> None:
    answer = await client.get(path)
    assert answer.status_code == 500
    assert "whatever kind" not in answer.text
    shape(answer.json(), "internal")


async def test_bodies_that_cannot_be_read(client: httpx.AsyncClient) -> None:
    """What frameworks would answer by 422 and the like."""
    path = "/v1/chat/completions"
    plain = {"content-type": "text/plain"}
    for content, headers, status, code in (
        (b"{", {}, 400, "invalid_input"),
        (b"[]", {}, 400, "invalid_input"),
        (b"\xff", {}, 400, "invalid_input"),
        (b"{}", plain, 415, "unsupported_media_type"),
        (b"x" * 900_000, {}, 413, "too_large"),
    ):
        answer = await client.post(path, content=content, headers={"content-type": JSON} | headers)
        assert answer.status_code == status
        of_openai(answer.json(), code)
