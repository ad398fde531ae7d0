"""What each call of each door needs: with that right it passes, with all others it does not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx
import pytest
from prometheus_client import generate_latest
from starlette.routing import Route

from modelmora.access.rights import Rule, Verb
from modelmora.errors import Code
from modelmora.gateway.doors.guarded import OPEN_PATHS
from modelmora.gateway.doors.rest.routes import create_app
from modelmora.gateway.hall import Ask
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import Refusal
from modelmora.messages import Lane
from modelmora.objects.signing import PATH
from modelmora.settings import routes as settings
from tests.unit.gateway.fakes import FakeHall, finished
from tests.unit.gateway.gate import (
    ADMIN,
    ANY,
    AUDIT,
    INFER,
    INSTALL,
    LETTERS,
    LIMIT,
    LOAD,
    ME,
    MINE,
    MODEL,
    OBJECT,
    OWN,
    READ,
    REPLAY,
    REQUESTS,
    ROUTE,
    STREAM,
    UNLOAD,
    Denied,
    Gate,
)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@dataclass(frozen=True)
class Call:
    """A call of HTTP, and the rights of which one at least it needs."""

    method: str
    path: str
    needs: frozenset[Verb]
    body: Any = None


TEXT = {"model": "texts", "prompt": "x"}
TALK = {"model": "texts", "messages": [{"role": "user", "content": "x"}]}
TENSOR = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1.0]}]}
FORM = "multipart/form-data; boundary=x"
FILE = (
    b'--x\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--x\r\ncontent-disposition: form-data; name="file"; filename="f"\r\n\r\n{}\r\n--x--\r\n'
)
CALLS = (
    Call("POST", "/infer/echo", INFER, {"inputs": "x"}),
    Call("POST", "/infer/echo", STREAM, {"inputs": "x", "progress": True}),
    Call("POST", "/infer/echo/async", INFER, {"inputs": "x"}),
    Call("GET", f"/jobs/{MINE}", READ),
    Call("GET", f"/jobs/{MINE}/result", READ),
    Call("GET", f"/jobs/{MINE}/events", READ),
    Call("DELETE", f"/jobs/{MINE}", OWN),
    Call("POST", "/objects", REQUESTS, OBJECT),
    Call("POST", "/v1/chat/completions", INFER, TALK),
    Call("POST", "/v1/chat/completions", STREAM, TALK | {"stream": True}),
    Call("POST", "/v1/completions", INFER, TEXT),
    Call("POST", "/v1/completions", STREAM, TEXT | {"stream": True}),
    Call("POST", "/v1/embeddings", INFER, {"model": "vectors", "input": "x"}),
    Call("POST", "/v1/images/generations", INFER, {"model": "pictures", "prompt": "x"}),
    Call("POST", "/v1/moderations", INFER, {"model": "classes", "input": "x"}),
    Call("POST", "/v1/rerank", INFER, {"model": "vectors", "query": "x", "documents": ["y"]}),
    Call("POST", "/v1/files", INFER, FILE),
    Call("GET", "/v1/files", READ),
    Call("GET", "/v1/files/f", READ),
    Call("GET", "/v1/files/f/content", READ),
    Call("DELETE", "/v1/files/f", OWN),
    Call("POST", "/v1/batches", INFER, {
        "input_file_id": "f", "endpoint": "/v1/embeddings", "completion_window": "24h"}),
    Call("GET", "/v1/batches", READ),
    Call("GET", "/v1/batches/b", READ),
    Call("POST", "/v1/batches/b/cancel", OWN),
    Call("POST", "/api/generate", INFER, TEXT | {"stream": False}),
    Call("POST", "/api/generate", STREAM, TEXT),
    Call("POST", "/api/chat", INFER, TALK | {"stream": False}),
    Call("POST", "/api/chat", STREAM, TALK),
    Call("POST", "/api/embed", INFER, {"model": "vectors", "input": "x"}),
    Call("POST", "/api/embeddings", INFER, {"model": "vectors", "prompt": "x"}),
    Call("POST", "/v2/models/echo/infer", INFER, TENSOR),
    Call("POST", "/v2/models/echo/versions/1/infer", INFER, TENSOR),
    Call("POST", "/v2/repository/models/echo/load", LOAD, {}),
    Call("POST", "/v2/repository/models/echo/unload", UNLOAD, {}),
    Call("POST", "/modelmora/v1/requests", STREAM, {"kind": "text", "instructions": "x"}),
    Call("GET", f"/modelmora/v1/requests/{MINE}", READ),
    Call("DELETE", f"/modelmora/v1/requests/{MINE}", READ),
    Call("GET", f"/modelmora/v1/requests/{MINE}/image", READ),
    Call("POST", "/models", INSTALL, MODEL),
    Call("PATCH", "/models/echo", ROUTE, {"active": "1"}),
    Call("PATCH", "/models/echo", ROUTE, {"default": True}),
    Call("PUT", "/models/echo/route", ROUTE, {"weights": {"1": 1}}),
    Call("POST", "/models/echo/canary", ROUTE, {"candidate": "2"}),
    Call("DELETE", "/models/echo/canary", ROUTE),
    Call("PATCH", "/models/echo/versions/1", INSTALL, {"pinned": True}),
    Call("DELETE", "/models/echo/versions/1", INSTALL),
    Call("POST", "/models/echo/load", LOAD, {}),
    Call("POST", "/models/echo/unload", UNLOAD, {}),
    Call("POST", "/models/echo/pin", LOAD, {}),
    Call("POST", "/models/echo/unpin", UNLOAD, {}),
    Call("GET", "/roles", ADMIN),
    Call("PUT", "/roles", ADMIN, {"name": "new", "rules": [{"verbs": ["infer"]}]}),
    Call("PUT", "/grants", ADMIN, {"principal": "x", "roles": ["caller"]}),
    Call("GET", "/dead-letters", LETTERS),
    Call("GET", f"/dead-letters/{MINE}", LETTERS),
    Call("POST", "/dead-letters/replay", REPLAY, {"all": True}),
    Call("POST", "/dead-letters/purge", REPLAY, {"all": True}),
    Call("GET", "/audit", AUDIT),
    Call("GET", "/audit/verify", AUDIT),
    Call("GET", "/budgets", ADMIN),
    Call("PUT", "/budgets", ADMIN, {"name": "all", "budget": {"requests": {"amount": 9}}}),
)  # fmt: skip
FOR_ALL = {
    "/", "/docs", "/openapi.json", "/metrics", "/status", "/health/models",
    "/models", "/models/{name}", "/models/{name}/versions/{version}",
    "/models/{name}/route", "/routes", "/models/{name}/canary", "/canaries",
    "/v1/models", "/v1/models/{model_name}",
    "/api/version", "/api/tags", "/api/ps", "/api/show",
    "/api/pull", "/api/push", "/api/create", "/api/copy", "/api/delete", "/api/blobs/{digest}",
    "/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/{model_name}",
    "/v2/models/{model_name}/ready", "/v2/models/{model_name}/versions/{version}",
    "/v2/models/{model_name}/versions/{version}/ready", "/v2/repository/index",
    "/modelmora/v1/models", "/modelmora/v1/availability",
}  # fmt: skip
"""What tells of models, or does nothing: for whoever has any right at all."""
SIGNED = {("PUT", f"{PATH}{{name:path}}"), ("GET", f"{PATH}{{name:path}}")}


def routes() -> set[tuple[str, str]]:
    return {
        (method, route.path)
        for route in create_app(FakeHall(), Metrics(), LIMIT).routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }


def is_at(path: str, route: str) -> bool:
    return bool(re.fullmatch(re.sub(r"\{[^}]*\}", "[^/]+", route), path))


def test_every_route_says_what_it_needs() -> None:
    told = {
        (method, route)
        for method, route in routes()
        for call in CALLS
        if method == call.method and is_at(call.path, route)
    }
    reading = {(method, route) for method, route in routes() if route in FOR_ALL}
    reading -= {("POST", "/models")}
    assert routes() - told - reading - SIGNED == {("GET", path) for path in OPEN_PATHS}


def client_of(gate: Gate) -> httpx.AsyncClient:
    app = create_app(gate.open, gate.metrics, LIMIT, permits=gate.permits)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://gateway")


async def send(client: httpx.AsyncClient, call: Call) -> httpx.Response:
    if isinstance(call.body, bytes):
        headers = {"content-type": FORM}
        return await client.request(call.method, call.path, content=call.body, headers=headers)
    return await client.request(call.method, call.path, json=call.body)


async def ask(gate: Gate, call: Call) -> httpx.Response:
    async with client_of(gate) as client:
        return await send(client, call)


def is_refused(answer: httpx.Response) -> bool:
    """MiraVeja's contract knows no 403."""
    return answer.status_code in (HTTPStatus.FORBIDDEN, HTTPStatus.UNAUTHORIZED)


@pytest.mark.parametrize(
    "call", CALLS, ids=lambda call: f"{call.method} {call.path} {'|'.join(sorted(call.needs))[:20]}"
)
async def test_a_call_needs_its_right_and_no_other(call: Call, gate: Gate) -> None:
    async with client_of(gate) as client:
        for verb in Verb:
            gate.may([verb])
            gate.denied.clear()
            gate.hall.asks.clear()
            gate.hall.wishes.clear()
            answer = await send(client, call)
            assert is_refused(answer) == (verb not in call.needs), (verb, answer.text)
            assert bool(gate.denied) == is_refused(answer)
            if is_refused(answer):
                assert f"{ME} may not" in answer.text or f"{ME} lacks" in answer.text
                assert [*gate.hall.asks, *gate.hall.wishes] == []


async def test_who_has_no_right_at_all_is_refused_everywhere(gate: Gate) -> None:
    paths = {re.sub(r"\{[^}]*\}", "echo", path) for _, path in routes() - SIGNED} - OPEN_PATHS
    async with client_of(gate) as client:
        for path in (*sorted(paths), "/nowhere", "/v1/nowhere", "/health/../models"):
            for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
                answer = await send(client, Call(method, path, ANY, {"inputs": "x"}))
                assert is_refused(answer), (method, path, answer.text)
        assert [*gate.hall.asks, *gate.hall.wishes] == []
        for path in OPEN_PATHS:
            assert not is_refused(await send(client, Call("GET", path, ANY)))


async def test_whoever_may_anything_sees_what_there_is(gate: Gate) -> None:
    gate.may([Verb.AUDIT_READ])
    async with client_of(gate) as client:
        for path in FOR_ALL:
            at = re.sub(r"\{[^}]*\}", "echo", path)
            assert not is_refused(await send(client, Call("GET", at, ANY))), path


async def test_a_refusal_is_counted_and_told_with_its_reason(gate: Gate) -> None:
    gate.may([Verb.STREAM])
    answer = await ask(gate, Call("POST", "/infer/echo", INFER, {"inputs": "secret"}))
    told = answer.json()
    assert (answer.status_code, told["code"]) == (403, "forbidden")
    detail = f"{ME} may not infer echo in lane normal: no role that is granted allows it"
    assert told["detail"] == detail
    (denied,) = gate.denied
    assert denied == Denied("infer", ME, False, "echo", detail, None)
    assert "secret" not in repr(denied)
    counted = 'modelmora_gateway_requests_total{code="forbidden",door="rest"} 1.0'
    assert counted in generate_latest(gate.metrics.registry).decode()


async def test_a_refusal_before_a_model_is_known_is_told_as_of_its_right(gate: Gate) -> None:
    gate.may([Verb.STREAM])
    assert is_refused(await ask(gate, Call("GET", "/dead-letters", LETTERS)))
    gate.may([])
    assert is_refused(await ask(gate, Call("GET", "/models", ANY)))
    assert [each.verb for each in gate.denied] == ["dlq.read", "call"]


async def test_a_rule_of_a_model_and_a_lane_is_of_nothing_else(gate: Gate) -> None:
    gate.may((), Rule(verbs=(Verb.INFER,), models=("echo",), lanes=("low",)))

    async def status(model: str, lane: str) -> int:
        body = {"inputs": "x", "priority": lane}
        return (await ask(gate, Call("POST", f"/infer/{model}", INFER, body))).status_code

    assert await status("echo", "low") == 200
    assert await status("echo@1", "low") == 200
    assert await status("echo", "normal") == 403
    assert await status("texts", "low") == 403
    assert await status("unheard-of", "low") == 403  # what is there it does not learn


async def test_another_version_answers_by_the_right_to_route_alone(gate: Gate) -> None:
    gate.may([Verb.INSTALL])
    second = {"name": "echo", "version": "2", "task": "echo", "source": "tests"}
    refused = await ask(gate, Call("POST", "/models", INSTALL, second | {"active": True}))
    assert refused.status_code == 403
    assert gate.hall.registrar.state.model("echo", "2") is None
    assert (await ask(gate, Call("POST", "/models", INSTALL, second))).status_code == 201
    assert gate.hall.registrar.state.active()["echo"] == "1"


async def test_a_route_of_several_versions_ends_by_the_right_to_route_alone(gate: Gate) -> None:
    """The version that answers most is no more than one of them."""
    registrar = gate.hall.registrar
    second = {"name": "echo", "version": "2", "task": "echo", "source": "tests"}
    gate.may([Verb.INSTALL])
    assert (await ask(gate, Call("POST", "/models", INSTALL, second))).status_code == 201
    shared = settings.Route(weights={"1": 1, "2": 9})
    await registrar.set_route("echo", shared)
    wishing = Call("POST", "/models", INSTALL, second | {"active": True})
    assert (await ask(gate, wishing)).status_code == 403
    assert registrar.state.told_route("echo")[-1][1] == shared
    gate.may([Verb.INSTALL, Verb.ROUTE])
    assert (await ask(gate, wishing)).status_code == 200
    gate.may([Verb.INSTALL])
    assert (await ask(gate, wishing)).status_code == 200  # it does so already


async def test_a_job_of_a_model_that_one_may_not_see_any_more(gate: Gate) -> None:
    job, result = finished("other", "out")
    gate.hall.jobs[ME, "other"] = (job, result)
    gate.may((), Rule(verbs=(Verb.JOBS_READ,), models=("echo",)))
    for path in ("", "/result", "/events"):
        answer = await ask(gate, Call("GET", f"/jobs/other{path}", READ))
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert (await ask(gate, Call("GET", "/jobs/nobodys", READ))).status_code == 404


async def test_the_lines_of_a_batch_are_asked_as_their_principal(gate: Gate) -> None:
    gate.may([Verb.INFER])
    with pytest.raises(Refusal) as caught:
        await gate.open.infer(Ask("openai", "echo", ("x",), principal="mallory", lane=Lane.LOW))
    assert caught.value.code is Code.FORBIDDEN
    assert not gate.hall.asks
    await gate.open.infer(Ask("openai", "echo", ("x",), lane=Lane.LOW))


async def test_nobody_takes_admin_from_themselves(gate: Gate) -> None:
    gate.tell({}, {})

    async def put(path: str, **body: Any) -> int:
        return (await ask(gate, Call("PUT", path, ADMIN, body))).status_code

    async def grant(principal: str, *roles: str) -> int:
        return await put("/grants", principal=principal, roles=roles)

    rule = {"verbs": ["admin"], "effect": "deny"}
    assert await put("/roles", name="none", rules=[rule]) == 409  # nobody would be admin
    assert await grant("alice", "admin") == 409  # not even who asks
    assert await grant(ME, "admin") == 200
    assert await put("/roles", name="none", rules=[rule]) == 200
    assert await grant("lo*", "none") == 409
    assert await grant("alice", "admin", "none") == 200
    assert await put("/roles", name="none", rules=[]) == 409  # it is granted
    assert await grant("alice") == 200
    assert await put("/roles", name="none", rules=[]) == 200
    assert await grant(ME) == 409
    assert await grant(ME, "caller") == 409
    assert await grant("*", "admin") == 200
    assert await grant(ME) == 200
    assert await grant("bob", "nobody-tells-it") == 400
    assert await grant("bob") == 404
    assert await put("/roles", name="caller", rules=[]) == 400
    answer = await ask(gate, Call("GET", "/roles", ADMIN))
    assert answer.json()["grants"] == [
        {"principal": "*", "told_by": "registry", "roles": ["admin"]}
    ]
    assert [each["told_by"] for each in answer.json()["roles"]] == ["built_in"] * 4


def test_nothing_told_is_everything_allowed(gate: Gate) -> None:
    gate.tell({}, {})
    for verb in Verb:
        gate.permits.check(verb, "m", Lane.CRITICAL, principal="anybody")
    gate.permits.check_any(principal="anybody")
