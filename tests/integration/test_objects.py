"""Large content on a real broker: through the object store, and never lost on the way."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from modelmora.broker import EmbeddedBroker
from modelmora.messages import ObjectRef, Status, Tensor
from modelmora.objects import content_of
from tests.integration.test_stepped import Station
from tests.nodes import ECHO, GatewayProcess

INLINE = 64 << 10
VECTORS = Tensor("embedding", "FP32", (1000, 100), bytes(range(200)) * 2000)
LIMITS = {"OBJECTS__INLINE_BYTES": INLINE}


@dataclass(frozen=True)
class Desk:
    """A node, a gateway that shares its folder of objects, and a caller of it."""

    station: Station
    folder: Path
    rest: httpx.Client


@pytest.fixture(scope="module")
def desk(broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("objects")
    shared = {"OBJECTS__FOLDER": folder / "objects"}
    station = Station(broker.bootstrap_servers, folder, ECHO, settings={**LIMITS, **shared})
    gateway = GatewayProcess(
        station.servers, station.namespace, tmp_path_factory.mktemp("gateway"), shared
    )
    try:
        with gateway, httpx.Client(base_url=gateway.http, timeout=60) as rest:
            yield Desk(station, folder / "objects", rest)
        station.close()
    finally:
        if station.node.running:
            station.node.kill()


def ask(desk: Desk, inputs: Any, **headers: str) -> Any:
    answer = desk.rest.post("/infer/echo", json={"inputs": inputs}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["outputs"]


def test_large_outputs_come_as_references_to_the_same(desk: Desk) -> None:
    (request,) = desk.station.send(model="echo", inputs=("small", VECTORS, b"\x89PNG" * 50_000))
    (result,) = desk.station.seen.answers([request])
    assert result.status is Status.COMPLETED
    small, tensor, image = result.outputs
    assert small == "small"
    for ref, content in ((tensor, VECTORS), (image, b"\x89PNG" * 50_000)):
        assert isinstance(ref, ObjectRef)
        data = (desk.folder / ref.uri.removeprefix("modelmora://objects/")).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (ref.size, ref.sha256)
        assert content_of(data, ref.media_type) == content


def test_the_gateway_tells_where_to_get_them(desk: Desk) -> None:
    text = "ä" * INLINE
    told, small = ask(desk, [text, "small"])
    assert small == "small"
    answer = httpx.get(told["url"])
    assert (answer.status_code, answer.text) == (200, text)
    assert answer.headers["etag"] == f'"{told["sha256"]}"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    part = httpx.get(told["url"], headers={"range": "bytes=2-5"})
    assert (part.status_code, part.text) == (206, "ää")
    assert httpx.get(told["url"] + "0").status_code == 403
    assert httpx.put(told["url"], content=b"x").status_code == 403
