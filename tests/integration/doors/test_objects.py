"""Large content on a real broker: through the object store, and never lost on the way."""

from __future__ import annotations

import hashlib
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from modelmora.broker import EmbeddedBroker
from modelmora.client import Client
from modelmora.messages import ObjectRef, Status, Tensor
from modelmora.objects import content_of
from modelmora.objects.contents import TENSOR
from modelmora.wire import new_request_id
from tests.faults.recording import Figures
from tests.integration.doors.conftest import INLINE
from tests.nodes import ECHO, GatewayProcess, NodeProcess
from tests.object_stores import ObjectStore, free_port, object_store
from tests.programs import eventually
from tests.stations import Station, running

VECTORS = Tensor("embedding", "FP32", (1000, 100), bytes(range(200)) * 2000)


@dataclass(frozen=True)
class Desk:
    """The node, the folder of objects, and a caller of the gateway."""

    station: Station
    folder: Path
    rest: httpx.Client
    grpc: str


@pytest.fixture(scope="module")
def desk(station: Station, objects: Path, gateway: GatewayProcess) -> Iterator[Desk]:
    with httpx.Client(base_url=gateway.http, timeout=60) as rest:
        yield Desk(station, objects, rest, gateway.grpc)


def ask(desk: Desk, inputs: Any, **headers: str) -> Any:
    answer = desk.rest.post("/infer/echo", json={"inputs": inputs}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["outputs"]


def test_large_outputs_come_as_references_to_the_same(desk: Desk) -> None:
    (request,) = desk.station.send(model="echo", inputs=("small", VECTORS, b"\x89PNG" * 100_000))
    (result,) = desk.station.seen.answers([request])
    assert result.status is Status.COMPLETED
    small, tensor, image = result.outputs
    assert small == "small"
    for ref, content in ((tensor, VECTORS), (image, b"\x89PNG" * 100_000)):
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


def put(desk: Desk, content: bytes, media_type: str = "application/octet-stream") -> Any:
    """The reference to content that was put as the gateway says."""
    sha256 = hashlib.sha256(content).hexdigest()
    told = desk.rest.post(
        "/objects", json={"media_type": media_type, "size": len(content), "sha256": sha256}
    )
    assert told.status_code == 201, told.text
    assert httpx.put(told.json()["put"], content=content).status_code == 201
    return told.json()["object"]


def test_a_large_input_goes_the_whole_way_and_back(desk: Desk) -> None:
    content = random.Random(5).randbytes(5_000_000)
    (told,) = ask(desk, [put(desk, content)])
    assert httpx.get(told["url"]).content == content
    kind = f'{TENSOR}; dtype=FP32; shape="1000,100"; name="embedding"'
    (request,) = desk.station.send(
        model="echo", inputs=(ObjectRef(**put(desk, VECTORS.data, kind)), "beside")
    )
    (result,) = desk.station.seen.answers([request])
    tensor, beside = result.outputs
    assert beside == "beside"
    assert isinstance(tensor, ObjectRef)
    assert (tensor.media_type, tensor.size) == (kind, 400_000)


def test_the_client_uploads_and_downloads_by_itself(desk: Desk, tmp_path: Path) -> None:
    image, back = tmp_path / "image.png", tmp_path / "back.png"
    image.write_bytes(random.Random(6).randbytes(5_000_000))
    with Client(desk.grpc) as client:
        answer = client.infer("echo", [image, VECTORS, "beside"])
        told, tensor, beside = answer.outputs
        assert isinstance(told, ObjectRef)
        assert (beside, told.media_type) == ("beside", "application/octet-stream")
        client.download(told, back)
        assert client.fetch(tensor) == VECTORS
        (again,) = client.submit("echo", [told]).result().outputs
        assert isinstance(again, ObjectRef)
        assert again.sha256 == told.sha256
    assert back.read_bytes() == image.read_bytes()


def test_what_may_not_be_read_is_refused_in_words(desk: Desk) -> None:
    good = put(desk, b"x" * 100, "text/plain")
    assert ask(desk, [good]) == ["x" * 100]
    never = hashlib.sha256(b"never put").hexdigest()
    key = good["uri"].rpartition("/")[0]
    odd = {
        "may not be read": good | {"uri": "http://169.254.169.254/latest"},
        "sha256 is not": good | {"sha256": never},
        "no such object of yours": good | {"uri": good["uri"].replace(key[-16:], "0" * 16)},
        "there is no such object": good | {"uri": f"{key}/{never}", "sha256": never},
        "differs": good | {"size": 99},
        "expired": good | {"expires_at": 1},
        "and this is": good | {"size": 10 << 30},
    }
    for words, ref in odd.items():
        answer = desk.rest.post("/infer/echo", json={"inputs": [ref]})
        assert answer.status_code in (400, 413), answer.text
        assert words in answer.json()["detail"]


def test_only_what_was_announced_can_be_put(desk: Desk) -> None:
    sha256 = hashlib.sha256(b"good").hexdigest()
    told = desk.rest.post("/objects", json={"size": 4, "sha256": sha256}).json()
    for content in (b"evil", b"goo", b"good and more"):
        assert httpx.put(told["put"], content=content).status_code == 400
    assert httpx.get(told["put"]).status_code == 403
    assert desk.rest.post("/objects", json={"size": 10**12, "sha256": sha256}).status_code == 413
    assert desk.rest.post("/objects", json={"size": 4, "sha256": "../etc"}).status_code == 400
    assert not [*(desk.folder / "incoming").iterdir()]


@pytest.mark.row("F12")
@pytest.mark.faults
def test_a_store_that_is_down_loses_nothing_though_the_node_is_killed(
    broker: EmbeddedBroker, tmp_path: Path, figures: Figures
) -> None:
    port = free_port()
    keys: dict[str, object] = {
        "STORE": "s3",
        "ENDPOINT": f"http://127.0.0.1:{port}",
        "ACCESS_KEY": ObjectStore.key,
        "SECRET_KEY": ObjectStore.secret,
        "RETRY_S": 600,
        "INLINE_BYTES": 64 << 10,
    }
    settings = {f"OBJECTS__{name}": value for name, value in keys.items()}
    content, before = random.Random(6).randbytes(200_000), set[str]()

    def spilled() -> int:
        return len({path.name for path in (tmp_path / "spill" / "incoming").glob("*")} - before)

    servers = broker.bootstrap_servers
    with running(servers, tmp_path, ECHO, settings) as station:
        ids = station.send(3, model="echo", inputs=(content,))
        eventually(lambda: spilled() == 3, "all outputs wait on the disk")
        station.node.kill()
        before = {path.name for path in (tmp_path / "spill" / "incoming").glob("*")}
        station.node.start().wait_ready()
        eventually(lambda: spilled() == 3, "they are computed anew, and wait")
        assert station.seen.results == {}
        with object_store(port) as store:
            store.put("modelmora", {})
            began = time.monotonic()
            results = station.seen.answers(ids)
            figures.add(requests=3, faults=2, lost=0)
            figures.recovered(time.monotonic() - began)
            for result in results:
                (ref,) = result.outputs
                assert isinstance(ref, ObjectRef)
                bucket, _, name = ref.uri.removeprefix("s3://").partition("/")
                assert store.client.get_object(bucket, name).read() == content
            eventually(lambda: spilled() == 0, "nothing waits any more")


@pytest.mark.no_cover
def test_who_was_told_to_ask_again_has_another_run_of_the_same_id(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    port, mine = free_port(), new_request_id()
    keys = {
        "STORE": "s3",
        "ENDPOINT": f"http://127.0.0.1:{port}",
        "ACCESS_KEY": ObjectStore.key,
        "SECRET_KEY": ObjectStore.secret,
        "RETRY_S": 1,
        "INLINE_BYTES": 64 << 10,
    }
    settings: dict[str, object] = {f"OBJECTS__{name}": value for name, value in keys.items()}
    told, content = {"x-request-id": mine}, {"inputs": ["x" * 100_000]}
    folder, servers = tmp_path / "gateway", broker.bootstrap_servers
    folder.mkdir()
    with (
        running(servers, tmp_path, ECHO, settings) as station,
        GatewayProcess(servers, station.namespace, folder, settings) as gateway,
        httpx.Client(base_url=gateway.wait_ready().http, timeout=60) as rest,
    ):
        refused = rest.post("/infer/echo", json=content, headers=told)
        assert refused.status_code == 503, refused.text
        assert refused.json()["code"] == "store_unavailable"
        assert refused.headers["retry-after"]
        with object_store(port) as store:
            store.put("modelmora", {})
            for _ in range(2):  # what it ends as then stands
                answer = rest.post("/infer/echo", json=content, headers=told)
                assert answer.status_code == 200, answer.text
        ends = station.seen.results
        station.seen.until(lambda: len(ends.get(mine, ())) == 2, "both outcomes")
        assert [(each.run, each.status) for each in ends[mine]] == [
            (1, Status.FAILED),
            (2, Status.COMPLETED),
        ]
        assert station.seen.letters == {}


class Dying(NodeProcess):
    """One that is killed between the upload of an output and its outcome."""

    module = "tests.dying"


@pytest.mark.faults
@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
def test_a_node_that_is_killed_behind_an_upload_leaves_no_orphan(
    broker: EmbeddedBroker, tmp_path: Path, delivery: str
) -> None:
    folder, content = tmp_path / "objects", random.Random(7).randbytes(200_000)
    settings = {"OBJECTS__FOLDER": folder, "OBJECTS__INLINE_BYTES": 64 << 10, "DELIVERY": delivery}
    (tmp_path / "kill").touch()
    servers, long_ago = broker.bootstrap_servers, folder / "100000"
    with running(servers, tmp_path, ECHO, settings, Dying) as station:
        ids = station.send(3, model="echo", inputs=(content,))
        assert station.node.wait() == -signal.SIGKILL
        (orphan,) = {path.parents[1] for path in folder.glob("[0-9]*/*/*")}
        orphan.rename(long_ago)  # as if the node came back when it has expired
        station.node.start().wait_ready()
        for result in station.seen.answers(ids):
            (ref,) = result.outputs
            assert isinstance(ref, ObjectRef)
            assert (folder / ref.uri.removeprefix("modelmora://objects/")).read_bytes() == content
        eventually(lambda: not long_ago.exists(), "the orphan is swept")
