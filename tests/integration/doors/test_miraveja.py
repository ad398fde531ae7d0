"""MiraVeja's interfaces against gateway and node, with a tiny model for each thing asked."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import httpx
import pytest

from modelmora.messages import Status
from tests.miraveja import SERVICES, Client
from tests.nodes import GatewayProcess
from tests.programs import eventually
from tests.stations import Station
from tests.tiny_classifiers import picture
from tests.tiny_pipelines import SIZE

CAP_S = 120
MARKER = "the-marker-phrase-of-this-test"


def uri(seed: int = 1) -> str:
    return "data:image/png;base64," + base64.b64encode(picture(seed=seed)).decode()


@pytest.fixture(scope="module")
def channel(gateway: GatewayProcess) -> Iterator[Any]:
    with grpc.insecure_channel(gateway.facts["grpc"]) as channel:
        yield channel


@pytest.fixture(scope="module")
def client() -> Client:
    return Client()


def request(client: Client, message: str, mark: str) -> Any:
    """One of every kind."""
    made = getattr(client, f"{message}Request")(request_id=mark)
    if message == "TextEmbedding":
        made.text = f"the {MARKER}"
    elif message == "ImageGeneration":
        made.parameters.prompt = MARKER[:10]
        made.parameters.steps = 2
        made.parameters.seed = 7
    elif message == "PostText":
        made.image_uris.extend([uri(1), uri(2)])
    else:
        made.image_uri = uri()
    return made


def check(message: str, found: Any, mark: str) -> None:
    """What every kind of answer has."""
    assert found.request_id == mark
    assert found.inference_time_millis >= 0
    match message:
        case "TextEmbedding" | "ImageEmbedding":
            assert len(found.embedding_vectors) > 1
        case "ImageGeneration":
            check_png(found.image_uri)
            used = found.parameters
            assert (used.seed, used.steps, used.width, used.height) == (7, 2, SIZE, SIZE)
        case "ImageSafety":
            assert found.nsfw_score in (1, 3, 4)
        case _:
            assert found.model_name


def check_png(told: str) -> None:
    from PIL import Image

    head, _, data = told.partition(",")
    assert head == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (SIZE, SIZE)


@pytest.mark.parametrize("service", SERVICES)
def test_every_call_is_answered(channel: Any, client: Client, service: str) -> None:
    message, unary, batch, stream = SERVICES[service]
    one = request(client, message, "é 1")
    check(message, client.call(channel, service, unary)(one, timeout=CAP_S), "é 1")
    if batch:
        many = getattr(client, f"Batch{message}Request")(request_id="many")
        field = many.DESCRIPTOR.fields_by_number[3].name
        content = getattr(one, one.DESCRIPTOR.fields_by_number[3].name)
        getattr(many, field).extend([content] * 3)
        found = [*client.call(channel, service, batch)(many, timeout=CAP_S)]
        assert len(found) == 3
        for each in found:
            check(message, each, "many")
    if stream:
        marks = [f"r{number}" for number in range(3)]
        asked = (request(client, message, mark) for mark in marks)
        answers = {
            each.request_id: each
            for each in client.call(channel, service, stream)(asked, timeout=CAP_S)
        }
        assert sorted(answers) == marks
        for mark, each in answers.items():
            check(message, each, mark)


def test_a_node_that_refuses_is_heard(channel: Any, client: Client) -> None:
    draw = client.call(channel, "ImageGenerationService", "GenerateBatchImages")
    told = [{"prompt": "x", "steps": 2}, {"prompt": "x", "width": 63, "height": 63}]
    answers = draw(client.BatchImageGenerationRequest(batch_parameters=told), timeout=CAP_S)
    check_png(next(answers).image_uri)
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    metadata = dict(caught.value.trailing_metadata())
    assert metadata["modelmora-failed-items"] == "1=invalid_input"


def test_reflection_shows_the_services(channel: Any) -> None:
    from grpc_reflection.v1alpha import reflection_pb2 as pb

    ask = channel.stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        request_serializer=pb.ServerReflectionRequest.SerializeToString,
        response_deserializer=pb.ServerReflectionResponse.FromString,
    )
    (told,) = ask(iter([pb.ServerReflectionRequest(list_services="")]), timeout=CAP_S)
    names = {each.name for each in told.list_services_response.service}
    assert {f"model.v1.{service}" for service in SERVICES} <= names


@pytest.fixture(scope="module")
def http(gateway: GatewayProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{gateway.http}/modelmora/v1", timeout=CAP_S) as client:
        yield client


def asked(number: int) -> dict[str, Any]:
    """Every third an image, every third a text about one."""
    if number % 3 == 0:
        size = {"width": SIZE, "height": SIZE}
        settings = {"steps": 2, "seed": number}
        return {"kind": "image", "description": "x", "size": size, "settings": settings}
    text = {"kind": "text", "instructions": f"the {MARKER[:10]}", "settings": {"maxLength": 8}}
    if number % 3 == 1:
        return text
    shown = {"mediaType": "image/png", "base64": base64.b64encode(picture()).decode()}
    return {**text, "images": [shown]}


def ended(http: httpx.Client, request_id: str) -> dict[str, Any]:
    """The status of a request that has ended."""
    found: dict[str, Any] = {}

    def look() -> bool:
        found.update(http.get(f"/requests/{request_id}?waitSeconds=30").json())
        return found["state"] not in ("waiting", "running")

    eventually(look, "the end of a request", CAP_S)
    return found


def test_a_burst_of_four_callers_is_answered_whole(station: Station, http: httpx.Client) -> None:
    with ThreadPoolExecutor(4) as callers:
        answers = [*callers.map(lambda n: http.post("/requests", json=asked(n)), range(20))]
        assert {answer.status_code for answer in answers} == {202}
        ids = [answer.json()["requestId"] for answer in answers]
        found = [*callers.map(lambda each: ended(http, each), ids)]
    assert len(set(ids)) == 20
    assert {each["state"] for each in found} == {"done"}, found
    for number, (each, answer) in enumerate(zip(found, answers, strict=True)):
        result = each["result"]
        assert result["model"] == answer.json()["model"]
        assert result["imageAvailable"] == (number % 3 == 0)
        assert (result["text"] is None) == (number % 3 == 0)
        assert result["heldUntil"]
    assert found[3]["result"]["settingsUsed"]["seed"] == 3
    used = found[1]["result"]["settingsUsed"]
    assert (used["maxLength"], used["temperature"], used["steps"]) == (8, 0.7, None)
    assert isinstance(used["seed"], int)
    image = http.get(f"/requests/{ids[3]}/image")
    assert image.headers["content-type"] == "image/png"
    assert len(station.seen.answers(ids)) == 20, "each has one outcome"


def test_what_is_withdrawn_before_it_began_never_runs(station: Station, http: httpx.Client) -> None:
    long = asked(0) | {"settings": {"steps": 150}}
    ids = [http.post("/requests", json=long).json()["requestId"] for _ in range(3)]
    withdrawn = http.delete(f"/requests/{ids[-1]}").json()
    assert withdrawn["state"] == "withdrawn"
    assert ended(http, ids[-1])["state"] == "withdrawn"
    assert [ended(http, each)["state"] for each in ids[:-1]] == ["done", "done"]
    assert http.delete(f"/requests/{ids[0]}").json()["state"] == "done", "it stays as it is"
    (outcome,) = station.seen.answers(ids[-1:])
    assert (outcome.status, outcome.timings.inference_ms) == (Status.CANCELLED, 0)


@pytest.mark.faults
def test_a_node_that_stops_leaves_no_request_open(station: Station, http: httpx.Client) -> None:
    ids = [http.post("/requests", json=asked(n)).json()["requestId"] for n in range(8)]
    assert station.node.stop() == 0
    station.node.start().wait_ready()
    assert {ended(http, each)["state"] for each in ids} <= {"done", "stopped_before_completion"}
    assert len(station.seen.answers(ids)) == 8


def test_what_cannot_be_is_refused_at_once(http: httpx.Client) -> None:
    odd = asked(0) | {"size": {"width": 65, "height": 65}}
    answer = http.post("/requests", json=odd)
    if answer.status_code == 202:  # its node was slow to say so
        refused = ended(http, answer.json()["requestId"])["failure"]
    else:
        assert answer.status_code == 400
        refused = answer.json()
    assert refused["reason"] == "invalid_request"


def test_what_may_be_asked_is_told(http: httpx.Client) -> None:
    told = http.get("/models").json()
    assert told["defaults"] == {
        "text": {"name": "blind", "version": "1"},
        "textWithImages": {"name": "eyes", "version": "1"},
        "image": {"name": "paints", "version": "1"},
    }
    found = http.get("/availability").json()
    assert (found["state"], found["servable"]) == ("running", {"text": 6, "image": 1}), (
        "versions count"
    )


def test_what_was_sent_is_in_no_log(station: Station, gateway: GatewayProcess) -> None:
    for program in (station.node, gateway):
        assert MARKER[:10] not in program.log.read_text(errors="replace")
