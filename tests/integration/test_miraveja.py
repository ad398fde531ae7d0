"""MiraVeja's interfaces against gateway and node, with a tiny model for each thing asked."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from modelmora.broker import EmbeddedBroker
from tests.integration.test_stepped import Station
from tests.miraveja import SERVICES, Client
from tests.nodes import GatewayProcess
from tests.tiny_classifiers import make_tiny_kind, picture
from tests.tiny_models import make_tiny
from tests.tiny_pipelines import SIZE, make_pipeline
from tests.tiny_texts import TEMPLATE, make_tiny_gguf, make_tiny_text, write_projector

CAP_S = 120
MARKER = "the-marker-phrase-of-this-test"
RATINGS = {"0": "normal", "1": "nsfw", "2": "sexy"}


def uri(seed: int = 1) -> str:
    return "data:image/png;base64," + base64.b64encode(picture(seed=seed)).decode()


def models(folder: Path) -> list[dict[str, Any]]:
    eyes = make_tiny_gguf(folder / "eyes", **{"tokenizer.chat_template": TEMPLATE})
    write_projector(eyes / "mmproj.gguf")
    sources = {
        "blind": ("txt2txt", make_tiny_text(folder / "blind")),
        "eyes": ("txt2txt", eyes),
        "vectors": ("txt2embed", make_tiny(folder / "vectors")),
        "looks": ("img2embed", make_tiny_kind(folder / "looks", "clip")),
        "captions": ("img2txt", make_tiny_kind(folder / "captions", "blip")),
        "rates": ("classify", make_tiny_kind(folder / "rates", "image", id2label=RATINGS)),
        "paints": ("txt2img", make_pipeline(folder / "paints")),
    }
    return [
        {"name": name, "task": task, "source": str(source)}
        for name, (task, source) in sources.items()
    ]


@pytest.fixture(scope="module")
def station(broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    folder = tmp_path_factory.mktemp("miraveja")
    made = Station(broker.bootstrap_servers, folder, json.dumps(models(folder)))
    try:
        yield made
        made.close()
    finally:
        if made.node.running:
            made.node.kill()


@pytest.fixture(scope="module")
def gateway(station: Station, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("gateway")
    with GatewayProcess(station.servers, station.namespace, folder) as gateway:
        yield gateway


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


def test_what_was_sent_is_in_no_log(station: Station, gateway: GatewayProcess) -> None:
    for program in (station.node, gateway):
        assert MARKER[:10] not in program.log.read_text(errors="replace")
