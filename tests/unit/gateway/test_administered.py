"""Dead letters and the audit at both doors: what is asked, what is told, and what is kept back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import httpx
import pytest

from modelmora.access.rights import Rule, Verb
from modelmora.gateway.cluster.administering import MOST_NAMED
from modelmora.gateway.doors.grpc.server import RpcServer
from modelmora.gateway.doors.rest.routes import create_app
from modelmora.rpc.v1 import audit_pb2, audit_pb2_grpc, deadletters_pb2, deadletters_pb2_grpc
from tests.unit.gateway.administered import BROKEN, SECRET
from tests.unit.gateway.gate import LIMIT, ME, Gate


@pytest.fixture
def gate() -> Gate:
    gate = Gate()
    gate.may([Verb.DLQ_READ, Verb.DLQ_REPLAY, Verb.AUDIT_READ])
    return gate


@pytest.fixture
async def client(gate: Gate) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(gate.open, gate.metrics, LIMIT, permits=gate.permits)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield client


@pytest.fixture
async def channel(gate: Gate) -> AsyncIterator[Any]:
    server = RpcServer(gate.open, gate.metrics, LIMIT, permits=gate.permits)
    port = await server.start("127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(0)


def letters_at(channel: Any) -> Any:
    return deadletters_pb2_grpc.DeadLetterServiceStub(channel)  # type: ignore[no-untyped-call]


async def got(client: httpx.AsyncClient, path: str) -> Any:
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_pages_of_letters_are_the_newest_first(client: httpx.AsyncClient) -> None:
    first = await got(client, "/dead-letters?limit=2")
    assert [each["request_id"] for each in first["dead_letters"]] == ["my-job", "others"]
    rest = await got(client, f"/dead-letters?limit=2&cursor={first['next']}")
    assert [each["place"] for each in rest["dead_letters"]] == ["ns.dead-letters:0:0"]
    assert rest["next"] is None
    only = await got(client, "/dead-letters?model=other&code=worker_crash")
    assert [each["request_id"] for each in only["dead_letters"]] == ["others"]
    assert SECRET not in str(first)


async def test_grpc_tells_the_same_letters(client: httpx.AsyncClient, channel: Any) -> None:
    asked = deadletters_pb2.ListDeadLettersRequest(page_size=2)
    first = await letters_at(channel).List(asked)
    asked.page_token = first.next_page_token
    rest = await letters_at(channel).List(asked)
    told = (await got(client, "/dead-letters"))["dead_letters"]
    both = [*first.dead_letters, *rest.dead_letters]
    assert rest.next_page_token == ""
    same = ("place", "request_id", "model", "run", "code", "reason", "source", "cut")
    assert [[getattr(each, name) for name in same] for each in both] == [
        [each[name] for name in same] for each in told
    ]


async def test_letters_of_other_models_are_not_there(
    gate: Gate, client: httpx.AsyncClient, channel: Any
) -> None:
    verbs = (Verb.DLQ_READ, Verb.DLQ_REPLAY)
    gate.may((), Rule(verbs=verbs, models=("echo",)))
    told = (await got(client, "/dead-letters"))["dead_letters"]
    assert [each["model"] for each in told] == ["echo", "echo"]
    assert (await client.get("/dead-letters/others")).status_code == 404
    for path in ("replay", "purge"):
        named = await client.post(f"/dead-letters/{path}", json={"which": ["others"]})
        assert named.status_code == 404
        assert (await client.post(f"/dead-letters/{path}", json={"all": True})).status_code == 200
    assert gate.hall.administration.done == ["replay 0", "replay 2", "purge 0", "purge 2"]
    found = await letters_at(channel).List(deadletters_pb2.ListDeadLettersRequest())
    assert [each.model for each in found.dead_letters] == ["echo", "echo"]


async def test_what_was_sent_is_for_who_may_do_all(
    gate: Gate, client: httpx.AsyncClient, channel: Any
) -> None:
    letters = letters_at(channel)
    asked = deadletters_pb2.GetDeadLettersRequest(which="my-job")
    plain = await got(client, "/dead-letters/my-job")
    assert SECRET not in str(plain) + str(await letters.Get(asked))
    assert {"name": "own", "value": "kept"} in plain["dead_letters"][0]["headers"]
    assert plain["dead_letters"][0]["request"] is None
    asked.content = True
    refused = await client.get("/dead-letters/my-job?content=true")
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    with pytest.raises(grpc.aio.AioRpcError):
        await letters.Get(asked)
    assert [each.verb for each in gate.denied] == ["admin", "admin"]
    gate.may([Verb.DLQ_READ, Verb.ADMIN])
    whole = await got(client, "/dead-letters/my-job?content=true")
    assert whole["dead_letters"][0]["request"]["inputs"] == [SECRET]
    assert SECRET in (await letters.Get(asked)).dead_letters[0].request
    gate.may([Verb.ADMIN])
    assert (await client.get("/dead-letters/my-job?content=true")).status_code == 403


async def test_a_replay_says_what_becomes_of_each(
    gate: Gate, client: httpx.AsyncClient, channel: Any
) -> None:
    body = {"which": ["my-job"], "dry_run": True}
    told = (await client.post("/dead-letters/replay", json=body)).json()
    assert [(each["run"], each["to"]) for each in told["reruns"]] == [(2, "ns.requests.normal")] * 2
    assert gate.hall.administration.done == []
    asked = deadletters_pb2.ReplayDeadLettersRequest(which=["others"], again=True)
    done = await letters_at(channel).Replay(asked)
    assert [(each.request_id, each.to, each.why) for each in done.reruns] == [
        ("others", "ns.requests.normal:0:9", "")
    ]
    assert done.left_out == 1
    crashed = deadletters_pb2.PurgeDeadLettersRequest(code="worker_crash")
    purged = await letters_at(channel).Purge(crashed)
    assert (purged.purged, purged.removed) == (3, 1)


@pytest.mark.parametrize("path", ["replay", "purge"])
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"dry_run": True},
        {"which": ["a"], "all": True},
        {"which": ["a"], "code": "x"},
        {"which": ["a"] * (MOST_NAMED + 1)},
        {"which": "a"},
        {"which": [""]},
        {"which": ["a", ""]},
        {"all": "yes"},
        {"every": True},
        [],
    ],
    ids=str,
)
async def test_letters_are_named_in_one_way(
    path: str, body: Any, gate: Gate, client: httpx.AsyncClient
) -> None:
    """Nothing is done to all of them by a slip."""
    answer = await client.post(f"/dead-letters/{path}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input"), answer.text
    assert gate.hall.administration.done == []


@pytest.mark.parametrize(
    "query",
    [
        "dead-letters?limit=0",
        "dead-letters?limit=1001",
        "dead-letters?cursor=x",
        "dead-letters?cursor=1.2",
        "dead-letters?since=soon",
        "dead-letters?since=1h&since=2h",
        "dead-letters?models=echo",
        "dead-letters/my-job?content=yes",
        "audit?decision=maybe",
        "audit?before=99999999999d9",
        "audit?\x00=1",
        "audit/verify?quick=1",
    ],
)
async def test_what_cannot_be_asked_is_refused(query: str, client: httpx.AsyncClient) -> None:
    path, _, words = query.partition("?")
    answer = await client.get(f"/{path}", params=httpx.QueryParams(words))
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input"), answer.text


async def test_a_refusal_is_short_however_long_what_was_asked(
    client: httpx.AsyncClient, channel: Any
) -> None:
    stub = deadletters_pb2_grpc.DeadLetterServiceStub(channel)  # type: ignore[no-untyped-call]
    for call in (
        stub.Get(deadletters_pb2.GetDeadLettersRequest(which="x" * 9000)),
        stub.List(deadletters_pb2.ListDeadLettersRequest(since="9" * 9000)),
        stub.Purge(deadletters_pb2.PurgeDeadLettersRequest(which=["x" * 9000])),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        assert len(refused.value.details() or "") < 400


async def test_a_decision_is_asked_for_as_it_is_answered(client: httpx.AsyncClient) -> None:
    records = (await got(client, "/audit"))["records"]
    denied = [each for each in records if each["decision"] == "DENIED"]
    assert (await got(client, "/audit?decision=DENIED"))["records"] == denied != []


async def test_the_audit_is_paged_and_filtered(client: httpx.AsyncClient, channel: Any) -> None:
    first = await got(client, "/audit?limit=2")
    assert [each["sequence"] for each in first["records"]] == [2, 1]
    rest = await got(client, f"/audit?limit=2&cursor={first['next']}")
    assert [each["sequence"] for each in rest["records"]] == [0]
    found = await got(client, "/audit?verb=load&decision=denied&principal=alice&model=echo@2")
    assert [each["sequence"] for each in found["records"]] == [2]
    assert (await got(client, "/audit?since=1h"))["records"] == []
    stub = audit_pb2_grpc.AuditServiceStub(channel)  # type: ignore[no-untyped-call]
    page = await stub.List(audit_pb2.ListAuditRecordsRequest(verb="load", decision="allowed"))
    assert [(each.sequence, each.principal) for each in page.records] == [(0, "alice")]


async def test_what_is_wrong_with_the_audit_is_told(
    gate: Gate, client: httpx.AsyncClient, channel: Any
) -> None:
    stub = audit_pb2_grpc.AuditServiceStub(channel)  # type: ignore[no-untyped-call]
    assert (await got(client, "/audit/verify"))["holds"] is True
    assert (await stub.Verify(audit_pb2.VerifyAuditRequest())).holds
    gate.hall.administration.findings = [BROKEN] * 300
    told = await got(client, "/audit/verify")
    assert (told["holds"], told["faults"], len(told["findings"])) == (False, 300, 100)
    assert told["findings"][0]["fault"] == "missing"
    found = await stub.Verify(audit_pb2.VerifyAuditRequest())
    assert (found.holds, found.faults, found.findings[0].place) == (False, 300, BROKEN.place)
    assert [(each.writer, each.last) for each in found.writers] == [("gw/1", 2)]


async def test_a_right_of_no_model_shows_no_letters(gate: Gate, client: httpx.AsyncClient) -> None:
    everything = Rule(verbs=(Verb.DLQ_READ,))
    gate.may((), everything, Rule(verbs=(Verb.DLQ_READ,), models=("echo",), effect="deny"))
    told = (await got(client, "/dead-letters"))["dead_letters"]
    assert [each["model"] for each in told] == ["other"]
    gate.may((), everything, Rule(verbs=(Verb.DLQ_READ,), effect="deny"))
    refused = await client.get("/dead-letters")
    assert refused.status_code == 403
    assert ME in refused.json()["detail"]
