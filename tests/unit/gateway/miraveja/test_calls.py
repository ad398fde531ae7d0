"""MiraVeja's gRPC interface, called by a client of its own making."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import descriptor_pb2

from modelmora.gateway.doors.miraveja.kinds import tags_in, title_in
from modelmora.messages import ObjectRef, RegistryKind, RegistryRecord
from modelmora.rpc.miraveja import model_pb2
from modelmora.settings import Purposes, Rating
from tests.miraveja import MESSAGES, Client
from tests.unit.gateway.fakes import FakeHall
from tests.unit.gateway.miraveja.rig import PNG, TEXTS, URI, code_of, labelled, refused


def test_the_interface_is_that_of_the_table(client: Client) -> None:
    (theirs,) = client.files.file
    for message in theirs.message_type:
        for field in message.field:
            field.ClearField("json_name")  # protoc tells it, its stubs do not
    ours = descriptor_pb2.FileDescriptorProto()
    model_pb2.DESCRIPTOR.CopyToProto(ours)
    assert ours.package == theirs.package == "model.v1"
    for kind in ("message_type", "enum_type", "service"):
        told = [{each.name: each for each in getattr(file, kind)} for file in (ours, theirs)]
        assert told[0] == told[1]


@pytest.mark.parametrize("name", MESSAGES)
def test_messages_are_the_same_bytes(client: Client, name: str) -> None:
    theirs = filled(getattr(client, name)())
    raw = theirs.SerializeToString(deterministic=True)
    ours = getattr(model_pb2, name).FromString(raw)
    assert ours.SerializeToString(deterministic=True) == raw
    assert str(ours) == str(theirs)
    assert {each.name for each, _ in ours.ListFields()} == {
        each.name for each in ours.DESCRIPTOR.fields
    }


def filled(message: Any) -> Any:
    """Every field set to something of its own."""
    samples: dict[type, Callable[[int], Any]] = {
        str: lambda number: f"text {number} é",
        int: lambda number: -number,
        float: lambda number: number / 2,
    }
    for field in message.DESCRIPTOR.fields:
        many = field.is_repeated
        if field.message_type:
            inner = getattr(message, field.name)
            filled(inner.add() if many else inner)
        elif field.enum_type:
            setattr(message, field.name, 5)
        else:
            value = samples[type(field.default_value) if not many else kind_of(field)](field.number)
            if many:
                getattr(message, field.name).extend([value, value])
            else:
                setattr(message, field.name, value)
    return message


def kind_of(field: Any) -> type:
    return float if field.cpp_type == field.CPPTYPE_FLOAT else str


async def test_vectors_of_texts(hall: FakeHall, channel: Any, client: Client) -> None:
    call = client.call(channel, TEXTS, "GenerateTextEmbedding")
    found = await call(client.TextEmbeddingRequest(request_id="mine", text="a"), timeout=60)
    assert (found.request_id, found.model_name, found.text) == ("mine", "vectors@1", "a")
    assert [*found.embedding_vectors] == [0.5, -1]
    assert found.inference_time_millis == 3
    (ask,) = hall.asks
    assert (ask.door, ask.model, ask.inputs) == ("miraveja", "vectors", ("a",))
    assert ask.request_id is None, "the mark of a caller is no id of ours"
    assert 0 < (ask.timeout_ms or 0) <= 61_000, "gRPC rounds it up"
    named = await call(client.TextEmbeddingRequest(model_name="vectors", text="a"))
    assert (named.model_name, hall.held) == ("vectors", 0)


async def test_vectors_of_images(hall: FakeHall, channel: Any, client: Client) -> None:
    call = client.call(channel, "ImageEmbeddingsService", "GenerateImageEmbedding")
    found = await call(client.ImageEmbeddingRequest(request_id="r", image_uri=URI))
    assert ([*found.embedding_vectors], found.request_id) == ([1, 2], "r")
    assert hall.asks[0].inputs == (PNG,)


async def test_an_image_is_drawn_and_says_how(hall: FakeHall, channel: Any, client: Client) -> None:
    hall.settings = {
        "seed": 7,
        "steps": 30,
        "guidance": 7.5,
        "size": "64x72",
        "scheduler": "Euler",
    }
    told = client.ImageGenerationParameters(
        prompt="a fish",
        negative_prompt="fowl",
        width=64,
        height=72,
        cfg_scale=5,
        steps=4,
        seed=7,
        loras=[{"name": "ink", "weight": 0.8}, {"name": "oil"}],
        sampler="Euler a",
    )
    call = client.call(channel, "ImageGenerationService", "GenerateImage")
    found = await call(client.ImageGenerationRequest(request_id="r", parameters=told))
    assert hall.asks[0].inputs == ("a fish",)
    assert hall.asks[0].parameters == {
        "seed": 7,
        "size": "64x72",
        "negative_prompt": "fowl",
        "guidance": 5,
        "steps": 4,
        "loras": ("ink=0.8", "oil=1"),
        "scheduler": "EulerAncestral",
    }
    assert found.image_uri == URI
    used = found.parameters
    assert (used.prompt, used.seed, used.steps, used.cfg_scale) == ("a fish", 7, 30, 8)
    assert (used.width, used.height, used.scheduler) == (64, 72, "Euler")
    hall.answers["paints@1"] = (ObjectRef("s3://ours/key", "00", 1, "image/png", 2),)
    large = await call(client.ImageGenerationRequest(parameters=told))
    assert large.image_uri == "s3://ours/key"


async def test_a_drawn_seed_fits_its_field(hall: FakeHall, channel: Any, client: Client) -> None:
    call = client.call(channel, "ImageGenerationService", "GenerateImage")
    for seed in (0, -1):
        await call(client.ImageGenerationRequest(parameters={"prompt": "x", "seed": seed}))
    first, second = (ask.parameters["seed"] for ask in hall.asks)
    assert first != second
    assert all(isinstance(seed, int) and 0 < seed < 1 << 31 for seed in (first, second))


@pytest.mark.parametrize(
    "told", [{"width": 64}, {"scheduler": "karras"}, {"scheduler": "DDIM", "sampler": "euler"}]
)
async def test_what_cannot_be_drawn_so_is_refused(
    hall: FakeHall, channel: Any, client: Client, told: dict[str, Any]
) -> None:
    call = client.call(channel, "ImageGenerationService", "GenerateImage")
    error = await refused(call(client.ImageGenerationRequest(parameters=told)))
    assert (error.code(), code_of(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "invalid_input")
    assert not hall.asks


async def test_words_of_an_image(hall: FakeHall, channel: Any, client: Client) -> None:
    async def ask(service: str, method: str, kind: str) -> Any:
        return await client.call(channel, service, method)(getattr(client, kind)(image_uri=URI))

    described = await ask(
        "ImageCaptionService", "GenerateDescriptionFromImage", "ImageCaptionRequest"
    )
    assert (described.description, described.image_uri) == ("a fish", URI)
    titled = await ask("ImageTitleService", "GenerateTitleFromImage", "ImageTitleRequest")
    assert titled.title == "A Fish"
    tagged = await ask("ImageTaggingService", "GenerateTagsFromImage", "ImageTaggingRequest")
    assert [*tagged.tags] == ["“A Fish”", "and more", "fish"]
    rated = await ask("ImageSafetyService", "GenerateNSFWScoreFromImage", "ImageSafetyRequest")
    assert rated.nsfw_score == model_pb2.NSFW_SCORE_X, "the best label that is a rating"
    captions, eyes, *_ = hall.asks
    assert (captions.inputs, captions.parameters) == ((PNG,), {})
    assert (eyes.inputs[1:], eyes.parameters["temperature"]) == ((PNG,), 0)


async def test_a_post_about_several_images(hall: FakeHall, channel: Any, client: Client) -> None:
    call = client.call(channel, "PostTextService", "GeneratePostTextFromImages")
    found = await call(client.PostTextRequest(request_id="r", image_uris=[URI, URI]))
    assert found.post_text.startswith("# “A Fish”")
    assert [*found.image_uris] == [URI, URI]
    prompt, *images = hall.asks[0].inputs
    assert (prompt, images) == (Purposes().post_text_prompt, [PNG, PNG])
    error = await refused(call(client.PostTextRequest()))
    assert code_of(error) == "invalid_input"
    error = await refused(call(client.PostTextRequest(model_name="blind", image_uris=[URI])))
    assert code_of(error) == "invalid_input"
    assert "reads images" in str(error.details())


@pytest.mark.parametrize(
    "purposes",
    [
        Purposes(
            tags_model="rates",
            safety_labels={"Un-heard": Rating.R, "unheard": Rating.XXX},
            title_model="captions",
        )
    ],
)
async def test_models_and_labels_are_set(hall: FakeHall, channel: Any, client: Client) -> None:
    tag = client.call(channel, "ImageTaggingService", "GenerateTagsFromImage")
    found = await tag(client.ImageTaggingRequest(image_uri=URI))
    assert [*found.tags] == ["unheard", "nsfw", "normal"]
    rate = client.call(channel, "ImageSafetyService", "GenerateNSFWScoreFromImage")
    found = await rate(client.ImageSafetyRequest(image_uri=URI))
    assert found.nsfw_score == model_pb2.NSFW_SCORE_XXX
    title = client.call(channel, "ImageTitleService", "GenerateTitleFromImage")
    assert (await title(client.ImageTitleRequest(image_uri=URI))).title == "a fish"
    hall.answers["rates@1"] = labelled(fish=1.0)
    error = await refused(rate(client.ImageSafetyRequest(image_uri=URI)))
    assert code_of(error) == "invalid_input"


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "https://example.org/a.png",
        "file:///etc/passwd",
        "s3://elsewhere/key",
        "data:image/png",
        "data:image/png;base64,%%%",
        "data:text/plain,hello",
        "data:image/png;base64,AAAA",
    ],
)
async def test_no_other_place_is_read(
    hall: FakeHall, channel: Any, client: Client, uri: str
) -> None:
    call = client.call(channel, "ImageCaptionService", "GenerateDescriptionFromImage")
    error = await refused(call(client.ImageCaptionRequest(image_uri=uri)))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert not uri or uri not in str(error.details())
    assert not hall.asks
    assert hall.held == 0


async def test_models_that_are_not_there_or_not_so(
    hall: FakeHall, channel: Any, client: Client
) -> None:
    call = client.call(channel, TEXTS, "GenerateTextEmbedding")
    error = await refused(call(client.TextEmbeddingRequest(model_name="vector", text="a")))
    assert (error.code(), code_of(error)) == (grpc.StatusCode.NOT_FOUND, "unknown_model")
    assert "vectors" in str(error.details())
    error = await refused(call(client.TextEmbeddingRequest(model_name="paints", text="a")))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    hall.registry.write(
        RegistryRecord(RegistryKind.MODEL, "vectors", "1", "", "", "tests", present=False)
    )
    broken = channel.unary_unary(f"/model.v1.{TEXTS}/GenerateTextEmbedding")
    assert code_of(await refused(broken(b"\xff"))) == "invalid_input"


def test_titles_and_tags() -> None:
    assert title_in('\n  **"A Quiet Sea"** \n more') == "A Quiet Sea"
    assert title_in(" \n") == ""
    assert tags_in("- #Sea\n- sea, 1990s;  blue sky.") == ["Sea", "1990s", "blue sky"]
