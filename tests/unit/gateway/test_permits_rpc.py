"""What each method of gRPC needs: with that right it passes, with all others it does not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor_pool import Default

from modelmora.access.rights import Verb
from modelmora.gateway.doors.grpc.server import SERVICES, RpcServer
from modelmora.gateway.doors.guarded import OPEN_METHODS
from modelmora.rpc.miraveja import model_pb2 as studio
from modelmora.rpc.oip import inference_pb2 as oip
from modelmora.rpc.v1 import audit_pb2 as audit
from modelmora.rpc.v1 import deadletters_pb2 as letters
from modelmora.rpc.v1 import inference_pb2 as pb
from modelmora.rpc.v1 import management_pb2 as orders
from modelmora.rpc.v1 import registry_pb2 as registry
from modelmora.rpc.v1 import rights_pb2 as rights
from modelmora.rpc.v1 import rights_pb2_grpc
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
    Gate,
)

ECHO = pb.InferRequest(model="echo", inputs=[pb.Content(text="x")])
ORDER = orders.OrderRequest(model="echo")
ASKED = oip.ModelInferRequest(
    model_name="echo",
    inputs=[oip.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1])],
    raw_input_contents=[bytes(4)],
)
METHODS: dict[str, tuple[frozenset[Verb], Any]] = {
    "InferenceService/Infer": (INFER, ECHO),
    "InferenceService/InferServerStream": (STREAM, ECHO),
    "InferenceService/InferAsync": (INFER, ECHO),
    "InferenceService/GetJob": (READ, pb.GetJobRequest(request_id=MINE)),
    "InferenceService/WatchJob": (READ, pb.WatchJobRequest(request_id=MINE)),
    "InferenceService/CancelJob": (OWN, pb.CancelJobRequest(request_id=MINE)),
    "InferenceService/GetResult": (READ, pb.GetResultRequest(request_id=MINE)),
    "InferenceService/StreamResult": (READ, pb.StreamResultRequest(request_id=MINE)),
    "InferenceService/AnnounceObject": (REQUESTS, pb.AnnounceObjectRequest(**OBJECT)),
    "RegistryService/List": (ANY, registry.ListModelsRequest()),
    "RegistryService/Get": (ANY, registry.GetModelRequest(name="echo")),
    "RegistryService/Register": (INSTALL, registry.RegisterModelRequest(**MODEL)),
    "RegistryService/Update": (
        INSTALL,
        registry.UpdateModelRequest(name="echo", version="1", fields='{"pinned": true}'),
    ),
    "RegistryService/Retire": (INSTALL, registry.RetireModelRequest(name="echo", version="1")),
    "RegistryService/Activate": (ROUTE, registry.ActivateModelRequest(name="echo", version="1")),
    "RegistryService/GetRoute": (ANY, registry.GetRouteRequest(name="echo")),
    "RegistryService/SetRoute": (
        ROUTE,
        registry.SetRouteRequest(route=registry.Route(name="echo", weights={"1": 1})),
    ),
    "ManagementService/Load": (LOAD, ORDER),
    "ManagementService/Unload": (UNLOAD, ORDER),
    "ManagementService/Pin": (LOAD, ORDER),
    "ManagementService/Unpin": (UNLOAD, ORDER),
    "ManagementService/Status": (ANY, orders.StatusRequest()),
    "RightsService/List": (ADMIN, rights.ListRightsRequest()),
    "RightsService/SetRole": (
        ADMIN,
        rights.SetRoleRequest(name="new", rules=[rights.RightsRule(verbs=["infer"])]),
    ),
    "RightsService/SetGrant": (ADMIN, rights.SetGrantRequest(principal="x", roles=["caller"])),
    "DeadLetterService/List": (LETTERS, letters.ListDeadLettersRequest()),
    "DeadLetterService/Get": (LETTERS, letters.GetDeadLettersRequest(which=MINE)),
    "DeadLetterService/Replay": (REPLAY, letters.ReplayDeadLettersRequest(all=True)),
    "DeadLetterService/Purge": (REPLAY, letters.PurgeDeadLettersRequest(all=True)),
    "AuditService/List": (AUDIT, audit.ListAuditRecordsRequest()),
    "AuditService/Verify": (AUDIT, audit.VerifyAuditRequest()),
    "GRPCInferenceService/ServerLive": (ANY, oip.ServerLiveRequest()),
    "GRPCInferenceService/ServerReady": (ANY, oip.ServerReadyRequest()),
    "GRPCInferenceService/ModelReady": (ANY, oip.ModelReadyRequest(name="echo")),
    "GRPCInferenceService/ServerMetadata": (ANY, oip.ServerMetadataRequest()),
    "GRPCInferenceService/ModelMetadata": (ANY, oip.ModelMetadataRequest(name="echo")),
    "GRPCInferenceService/ModelInfer": (INFER, ASKED),
    "GRPCInferenceService/RepositoryIndex": (ANY, oip.RepositoryIndexRequest()),
    "GRPCInferenceService/RepositoryModelLoad": (
        LOAD,
        oip.RepositoryModelLoadRequest(model_name="echo"),
    ),
    "GRPCInferenceService/RepositoryModelUnload": (
        UNLOAD,
        oip.RepositoryModelUnloadRequest(model_name="echo"),
    ),
    "TextEmbeddingsService/GenerateTextEmbedding": (
        INFER,
        studio.TextEmbeddingRequest(model_name="vectors", text="x"),
    ),
}
TOLD_INSIDE = {"InferenceService/InferStream", "GRPCInferenceService/ModelStreamInfer"}
"""Their refusals are messages of the stream; they ask as `Infer` and `ModelInfer` do."""


def methods() -> dict[str, str]:
    """The whole path of each method by its service's last name."""
    return {
        f"{name.rpartition('.')[2]}/{method.name}": f"/{name}/{method.name}"
        for name in SERVICES
        for method in Default().FindServiceByName(name).methods
    }


def test_every_method_says_what_it_needs() -> None:
    """MiraVeja's methods of one service ask by one function, whatever is asked."""
    rest = methods().keys() - METHODS.keys() - TOLD_INSIDE
    assert {each for each in rest if "/Generate" not in each} == set()
    assert METHODS.keys() <= methods().keys()


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
async def channel(gate: Gate) -> AsyncIterator[Any]:
    server = RpcServer(gate.open, gate.metrics, LIMIT, permits=gate.permits)
    port = await server.start("127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(0)


async def code_of(channel: Any, path: str, message: Any) -> grpc.StatusCode:
    call = channel.stream_stream(path)(metadata=(), timeout=30)
    await call.write(message.SerializeToString())
    await call.done_writing()
    try:
        async for _ in call:
            pass
    except grpc.aio.AioRpcError as error:
        return error.code()
    code: grpc.StatusCode = await call.code()
    return code


@pytest.mark.parametrize("name", METHODS)
async def test_a_method_needs_its_right_and_no_other(name: str, gate: Gate, channel: Any) -> None:
    needs, message = METHODS[name]
    for verb in Verb:
        gate.may([verb])
        gate.denied.clear()
        code = await code_of(channel, methods()[name], message)
        refused = code is grpc.StatusCode.PERMISSION_DENIED
        assert refused == (verb not in needs), (verb, code)
        assert bool(gate.denied) == refused


async def test_who_has_no_right_at_all_is_refused_by_every_method(gate: Gate, channel: Any) -> None:
    others = (
        "/modelmora.v1.Nothing/AtAll",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/grpc.health.v1.Health/List",
    )
    for path in (*methods().values(), *others):
        call = channel.stream_stream(path)(timeout=30)
        assert await call.code() is grpc.StatusCode.PERMISSION_DENIED, path
        trailing = dict(await call.trailing_metadata() or ())
        assert trailing["modelmora-error-code"] == "forbidden"
    for path in OPEN_METHODS - {"/grpc.health.v1.Health/Watch"}:
        assert await channel.unary_unary(path)(b"", timeout=30)


async def test_roles_are_told_over_grpc_as_over_rest(gate: Gate, channel: Any) -> None:
    gate.tell({}, {})
    stub = rights_pb2_grpc.RightsServiceStub(channel)  # type: ignore[no-untyped-call]
    await stub.SetGrant(rights.SetGrantRequest(principal=ME, roles=["admin"]))
    rule = rights.RightsRule(verbs=["infer"], models=["embed-*"], lanes=["low"], effect="deny")
    told = await stub.SetRole(rights.SetRoleRequest(name="few", rules=[rule]))
    assert told.told
    assert [(each.name, each.told_by) for each in told.roles][-1] == ("few", "registry")
    assert [*told.roles[-1].rules] == [rule]
    wide = rights.RightsRule(verbs=["infer"])
    told = await stub.SetRole(rights.SetRoleRequest(name="few", rules=[wide]))
    (now,) = told.roles[-1].rules
    assert (now.models, now.effect, len(now.lanes)) == (["*"], "allow", 4)
    told = await stub.SetRole(rights.SetRoleRequest(name="few"))
    assert [each.name for each in told.roles if each.told_by == "registry"] == []
    told = await stub.List(rights.ListRightsRequest())
    assert [(each.principal, [*each.roles]) for each in told.grants] == [(ME, ["admin"])]


@pytest.mark.parametrize(
    ("name", "asked", "code"),
    [
        ("SetRole", rights.SetRoleRequest(name="admin"), "invalid_input"),
        ("SetRole", rights.SetRoleRequest(name="none"), "not_found"),
        (
            "SetRole",
            rights.SetRoleRequest(name="a", rules=[rights.RightsRule(verbs=["fly"])]),
            "invalid_input",
        ),
        ("SetRole", rights.SetRoleRequest(name="a", rules=[rights.RightsRule()]), "invalid_input"),
        ("SetGrant", rights.SetGrantRequest(principal="x", roles=["nobodys"]), "invalid_input"),
        ("SetGrant", rights.SetGrantRequest(roles=["caller"]), "invalid_input"),
        ("SetGrant", rights.SetGrantRequest(principal="*", roles=["caller"]), "conflict"),
    ],
)
async def test_what_is_no_role_or_grant_is_refused(
    name: str, asked: Any, code: str, gate: Gate, channel: Any
) -> None:
    gate.tell({}, {})
    call = channel.unary_unary(f"/modelmora.v1.RightsService/{name}")(asked.SerializeToString())
    trailing = dict(await call.trailing_metadata() or ())
    assert trailing["modelmora-error-code"] == code
