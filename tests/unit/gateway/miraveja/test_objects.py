"""Images that lie in the object store: named by MiraVeja's callers, and told to them."""

from __future__ import annotations

from typing import Any

import grpc

from modelmora.gateway.caller import LOCAL
from modelmora.gateway.doors.miraveja.images import LARGE, uri_of
from modelmora.messages import ObjectRef, SignedRef
from tests.miraveja import Client
from tests.unit.gateway.fakes import FakeHall
from tests.unit.gateway.miraveja.rig import PNG, code_of, refused

HERS = PNG + b" of ana"


async def test_an_object_of_ones_own_is_read_by_either_name(
    hall: FakeHall, channel: Any, client: Client
) -> None:
    objects = hall.shelf.objects
    assert objects
    ref = objects.put(PNG, "image/png", LOCAL)
    call = client.call(channel, "ImageEmbeddingsService", "GenerateImageEmbedding")
    for uri in (ref.uri, objects.url(ref, LOCAL)):
        await call(client.ImageEmbeddingRequest(image_uri=uri))
        (named,) = hall.asks[-1].inputs
        assert isinstance(named, ObjectRef)
        assert (named.uri, named.sha256, named.size) == (ref.uri, ref.sha256, len(PNG))


async def test_no_other_object_is_read(hall: FakeHall, channel: Any, client: Client) -> None:
    objects = hall.shelf.objects
    assert objects
    hers = objects.put(HERS, "image/png", "ana")
    call = client.call(channel, "ImageEmbeddingsService", "GenerateImageEmbedding")
    gone = f"{objects.store.home}{hers.uri.removeprefix(objects.store.home)[:-1]}0"
    for uri in (hers.uri, objects.url(hers, "ana"), gone, "s3://elsewhere/key", "http://[/"):
        error = await refused(call(client.ImageEmbeddingRequest(image_uri=uri)))
        assert error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
    assert not hall.asks


async def test_a_large_image_becomes_an_object(
    hall: FakeHall, channel: Any, client: Client
) -> None:
    large = PNG + bytes(LARGE)
    call = client.call(channel, "ImageEmbeddingsService", "GenerateImageEmbedding")
    await call(client.ImageEmbeddingRequest(image_uri=uri_of(large)))
    (kept,) = hall.asks[0].inputs
    assert isinstance(kept, ObjectRef)
    assert hall.shelf.objects
    assert hall.shelf.objects.read(kept) == large


async def test_a_large_drawing_is_told_by_its_url(
    hall: FakeHall, channel: Any, client: Client
) -> None:
    objects = hall.shelf.objects
    assert objects
    ref = objects.put(PNG, "image/png", LOCAL)
    url = str(objects.url(ref, LOCAL))
    told = (ref.uri, ref.sha256, ref.size, ref.media_type, ref.expires_at)
    hall.answers["paints@1"] = (SignedRef(*told, url),)
    call = client.call(channel, "ImageGenerationService", "GenerateImage")
    found = await call(client.ImageGenerationRequest(parameters={"prompt": "x"}))
    assert found.image_uri == url
    assert code_of(await refused(call(client.ImageGenerationRequest(model_name="eyes")))) == (
        "invalid_input"
    )
