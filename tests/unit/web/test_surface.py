"""Paths, methods, HEAD and OPTIONS of every HTTP door: the gateway's and the node's."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.responses import Response

from modelmora.gateway.doors.rest.routes import create_app
from modelmora.gateway.metrics import Metrics
from modelmora.node.health import health_app
from modelmora.node.metrics import NodeMetrics
from modelmora.telemetry.health import judge
from modelmora.web.surface import Surface, plain
from tests.unit.gateway.fakes import FakeHall


def node() -> object:
    return health_app(
        lambda: judge([]), lambda: {"waiting_for": None, "partitions": 1}, list, NodeMetrics()
    )


def gateway() -> object:
    return create_app(FakeHall(), Metrics(), 1000)


@pytest.fixture(params=[gateway, node])
async def door(request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(request.param(), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
        yield client


PATHS = ("/", "/health", "/health/live", "/health/ready", "/health/started", "/health/models")


@pytest.mark.parametrize("path", PATHS)
async def test_head_is_get_without_its_body(path: str, door: httpx.AsyncClient) -> None:
    get, head = await door.get(path), await door.head(path)
    assert head.status_code == get.status_code == 200
    assert head.content == b""
    assert head.headers == get.headers
    assert int(head.headers["content-length"]) == len(get.content)


@pytest.mark.parametrize("path", PATHS[1:])
async def test_a_slash_at_the_end_changes_nothing(path: str, door: httpx.AsyncClient) -> None:
    assert (await door.get(f"{path}/")).content == (await door.get(path)).content
    assert (await door.get(f"{path}//")).status_code == 404


@pytest.mark.parametrize("path", ["/health", "/health/", "/metrics"])
async def test_methods_are_told(path: str, door: httpx.AsyncClient) -> None:
    asked = await door.options(path)
    assert (asked.status_code, asked.content) == (204, b"")
    assert asked.headers["allow"] == "GET, HEAD, OPTIONS"
    for method in ("POST", "DELETE", "PATCH", "TRACE", "FOO"):
        answer = await door.request(method, path)
        assert answer.status_code == 405
        assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "method_not_allowed"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
async def test_unknown_paths_are_problems(method: str, door: httpx.AsyncClient) -> None:
    answer = await door.request(method, "/no%1b[31mwhere/" + "x" * 1000)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    if method != "HEAD":
        problem = answer.json()
        assert (problem["code"], problem["status"]) == ("not_found", 404)
        assert "\x1b" not in problem["detail"] + problem["instance"]
        assert len(problem["detail"] + problem["instance"]) < 500
        assert len(problem["trace_id"]) == 32


async def test_the_server_as_a_whole_has_options(door: httpx.AsyncClient) -> None:
    answer = await door.options("/*")
    assert answer.status_code == 204
    assert {"GET", "HEAD", "OPTIONS"} <= set(answer.headers["allow"].split(", "))
    assert (await door.get("/*")).json()["code"] == "not_found"


async def test_infer_takes_post_alone_with_a_slash_too() -> None:
    transport = httpx.ASGITransport(create_app(FakeHall(), Metrics(), 1000))
    async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
        assert (await client.options("/infer/echo")).headers["allow"] == "OPTIONS, POST"
        assert (await client.head("/infer/echo")).status_code == 405
        answer = await client.post("/infer/echo/", json={"inputs": "x"})
    assert answer.json()["outputs"] == ["x"]


def test_whatever_callers_post_is_answered_without_fastapis_way_there() -> None:
    app = gateway()
    assert isinstance(app, FastAPI)
    posts = [route for route in app.routes if "POST" in getattr(route, "methods", ())]
    assert len(posts) > 10
    assert [route for route in posts if plain(route) is None] == []


async def test_an_endpoint_is_given_its_path_with_or_without_a_slash() -> None:
    app = FastAPI()
    app.add_middleware(Surface, routes=app.routes)

    @app.api_route("/of/{what}", methods=["GET", "POST"])
    async def told(request: Request) -> Response:
        bare = "fastapi_inner_astack" not in request.scope
        return Response(f"{request.method} {request.path_params['what']} {bare}")

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
        assert (await client.post("/of/some/")).text == "POST some True"
        assert (await client.get("/of/a%20b")).text == "GET a b True"
        head = await client.head("/of/some")
        assert (head.status_code, head.content) == (200, b"")
