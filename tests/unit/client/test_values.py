"""Everything that is not one answer: jobs, models, orders, tasks, large content."""

from __future__ import annotations

import io
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import PIL.Image
import pytest

from modelmora.client import (
    Answer,
    CallError,
    Chunk,
    Client,
    DeadlineExceeded,
    Input,
    JobStatus,
    Label,
    Options,
    Ranked,
    Step,
    Text,
    objects,
)
from modelmora.errors import Invalid, MissingExtra
from modelmora.messages import (
    ChatMessage,
    ControlVerb,
    ObjectRef,
    ProgressEvent,
    ProgressStage,
    SignedRef,
    Tensor,
)
from modelmora.wire.tensors import framed
from tests.programs import eventually
from tests.unit.client.doubles import Gateway, Shop

SMALL = Options(inline_bytes=1000)


@pytest.fixture
def client(one: Gateway) -> Iterator[Client]:
    with Client(one.address, options=SMALL) as client:
        yield client


@pytest.fixture
def shop(one: Gateway) -> Iterator[Shop]:
    with Shop(one.hall.store) as shop:
        yield shop


def told(stage: ProgressStage, **more: Any) -> ProgressEvent:
    return ProgressEvent("x", stage, "echo@1", **more)


def vectors(*rows: tuple[float, ...]) -> Tensor:
    flat = [number for row in rows for number in row]
    return Tensor("", "FP32", (len(rows), len(rows[0])), struct.pack(f"<{len(flat)}f", *flat))


def kept(one: Gateway, data: bytes, media_type: str) -> ObjectRef:
    """An output that lies in the store, with its URL."""
    made = one.hall.shelf.objects
    assert made
    ref = made.put(data, media_type, "local")
    url = made.url(ref, "local")
    assert url
    return SignedRef(ref.uri, ref.sha256, ref.size, ref.media_type, ref.expires_at, url)


def test_a_job_is_submitted_watched_and_read(one: Gateway, client: Client) -> None:
    one.hall.events = (
        told(ProgressStage.ACCEPTED, position=2, estimate_ms=5.0),
        told(ProgressStage.STARTED),
        told(ProgressStage.CHUNK, step=1, steps=4),
    )
    job = client.submit("echo", ["a"], request_id="mine", priority="low", timeout_s=3600)
    assert job.id == "mine"
    assert repr(job) == "Job('mine')"
    assert (one.hall.asks[0].timeout_ms, one.hall.asks[0].progress) == (3_600_000, True)
    assert job.status().state == "queued"
    heard: list[object] = []
    ended = client.job("mine").wait(on_progress=heard.append)
    assert (ended.state, ended.ended, ended.version) == ("completed", True, "1")
    assert heard[-1] == Step(1, 4)
    assert job.result().outputs == ("a",)
    assert [type(event) for event in job.events()] == [JobStatus]


def test_a_job_is_not_bounded_by_the_call_that_submits_it(one: Gateway, client: Client) -> None:
    client.submit("echo", ["a"])
    assert one.hall.asks[0].timeout_ms is None


def test_a_job_is_waited_for_no_longer_than_said(one: Gateway, client: Client) -> None:
    job = client.submit("echo", ["a"])
    one.block()
    with pytest.raises(DeadlineExceeded):
        job.wait(0.2)
    assert job.cancel().state == "cancelled"
    one.unblock()
    with pytest.raises(CallError, match="cancelled by its caller") as caught:
        job.result()
    assert (caught.value.code, caught.value.request_id) == ("cancelled", job.id)
    with pytest.raises(CallError) as missing:
        client.job("another").status()
    assert missing.value.code == "not_found"


def test_a_stream_that_is_closed_takes_its_request_back(one: Gateway, client: Client) -> None:
    one.hall.events = (told(ProgressStage.CHUNK, chunk=b"a", sequence=0),)
    one.block()
    with client.stream("echo", ["a"]) as stream:
        assert next(stream) == Text("a")
    eventually(one.gone, "it is taken back")
    assert [*stream] == []


def test_a_stream_that_nobody_holds_is_closed(one: Gateway, client: Client) -> None:
    one.hall.events = (told(ProgressStage.CHUNK, chunk=b"a", sequence=0),)
    one.block()
    for _ in client.stream("echo", ["a"]):
        break
    eventually(one.gone, "it is taken back")


def test_the_time_of_a_stream_is_kept(one: Gateway, client: Client) -> None:
    one.block()
    with pytest.raises(DeadlineExceeded) as caught:
        next(client.stream("echo", ["a"], timeout_s=0.2, request_id="mine"))
    assert caught.value.request_id == "mine"


def test_large_outputs_come_in_chunks(one: Gateway, client: Client) -> None:
    one.hall.outputs = (b"x" * 600_000, "é" * 200_000, vectors((1.0,) * 100_000), b"small")
    *chunks, answer = client.stream("echo", ["a"])
    assert isinstance(answer, Answer)
    assert answer.outputs == one.hall.outputs
    assert answer.timings.total_ms == 6
    assert (
        b"".join(each.data for each in chunks if isinstance(each, Chunk) and not each.output)
        == (one.hall.outputs[0])
    )


def test_a_conversation(one: Gateway, client: Client) -> None:
    one.hall.outputs = ("Paris.",)
    messages: list[Input] = [
        {"role": "user", "content": "Where?"},
        ChatMessage("assistant", "There."),
    ]
    assert client.chat("echo", messages, max_tokens=5, timeout_s=10) == "Paris."
    assert one.hall.asks[0].inputs == (ChatMessage("user", "Where?"), messages[1])
    assert one.hall.asks[0].parameters == {"max_tokens": 5}
    assert one.hall.asks[0].timeout_ms
    assert one.hall.asks[0].timeout_ms <= 10_000
    assert client.generate("echo", "Where?") == "Paris."
    one.hall.events = (told(ProgressStage.CHUNK, chunk=b"Par", sequence=0),)
    assert [*client.chat_stream("echo", messages)] == ["Par", "is."]
    one.hall.outputs = ("Other",)
    with pytest.raises(CallError, match="came out otherwise"):
        [*client.chat_stream("echo", messages)]
    one.hall.outputs = (b"no text",)
    with pytest.raises(Invalid, match="no text"):
        client.chat("echo", messages)


def test_vectors_are_an_array(one: Gateway, client: Client) -> None:
    one.hall.outputs = (vectors((1.0, 2.0)), Tensor("", "FP32", (2,), struct.pack("<2f", 3, 4)))
    found = client.embed("echo", ["a", "b"])
    assert (found.dtype, found.tolist()) == (numpy.float32, [[1, 2], [3, 4]])
    for outputs in (("a",), (Tensor("", "INT8", (1,), b"1"),), (Tensor("", "FP32", (0,), b""),)):
        one.hall.outputs = outputs
        with pytest.raises(Invalid, match="no vectors"):
            client.embed("echo", ["a"])


def test_documents_are_ranked(one: Gateway, client: Client) -> None:
    one.hall.outputs = (Tensor("scores", "FP32", (3,), struct.pack("<3f", 1, 3, 2)),)
    best = client.rerank("echo", "q", ["a", "b", "c"], top_n=2)
    assert best == [Ranked(1, 3), Ranked(2, 2)]
    with pytest.raises(Invalid, match="score for each document"):
        client.rerank("echo", "q", ["a"])


def test_labels_are_told(one: Gateway, client: Client) -> None:
    words = b"".join(framed(each) for each in (b"good", b"bad"))
    scores = struct.pack("<2f", 0.75, 0.25)
    one.hall.outputs = (
        Tensor("scores", "FP32", (1, 2), scores),
        Tensor("labels", "BYTES", (1, 2), words),
    )
    assert client.classify("echo", ["a"]) == [[Label("good", 0.75), Label("bad", 0.25)]]
    one.hall.outputs = (Tensor("scores", "FP32", (1, 2), b"short"), one.hall.outputs[1])
    with pytest.raises(Invalid, match="no scores"):
        client.classify("echo", ["a"])


def test_images_are_pillows(one: Gateway, client: Client) -> None:
    file = io.BytesIO()
    PIL.Image.new("RGB", (3, 2)).save(file, "PNG")
    one.hall.outputs = (file.getvalue(),)
    assert client.image("echo", "a", seed=1).size == (3, 2)
    one.hall.outputs = (b"no image",)
    with pytest.raises(Invalid, match="no image"):
        client.image("echo", "a")


def test_what_is_not_installed_is_said_before_anything_is_asked(
    one: Gateway, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    for ask in (lambda: client.embed("echo", ["a"]), lambda: client.image("echo", "a")):
        with pytest.raises(MissingExtra, match=r"modelmora\[client\]"):
            ask()
    assert one.hall.asks == []


def test_models_are_listed_and_read(one: Gateway, client: Client) -> None:
    for at in range(3):
        one.hall.registry.register(f"m{at}", task="classify")
    assert [each.name for each in client.models(task="classify")] == ["m0", "m1", "m2"]
    model = client.model("m1")
    assert (model.version, model.task, model.active, model.declared) == (
        "1",
        "classify",
        True,
        False,
    )
    with pytest.raises(CallError) as caught:
        client.model("none")
    assert caught.value.code == "not_found"


def test_orders_are_given_and_the_status_read(one: Gateway, client: Client) -> None:
    assert [each.state for each in client.load("echo", wait_s=1, everywhere=True)] == ["ready"]
    assert client.unload("echo", wait_s=0) == []
    client.pin("echo")
    client.unpin("echo")
    verbs = [(wish.verb, wish.everywhere) for wish in one.hall.wishes]
    assert verbs == [
        (ControlVerb.LOAD, True),
        (ControlVerb.UNLOAD, False),
        (ControlVerb.PIN, False),
        (ControlVerb.UNPIN, False),
    ]
    (standing,) = client.status()
    assert (standing.node, standing.name, standing.state) == ("n1", "echo", "ready")
    assert standing.pid is None


def test_large_inputs_go_by_the_store(
    one: Gateway, client: Client, shop: Shop, tmp_path: Path
) -> None:
    file = tmp_path / "big.png"
    file.write_bytes(b"p" * 5000)
    tensor = vectors((1.0,) * 500)
    shop.refuses = 1
    one.hall.outputs = ("seen",)
    client.infer("echo", [file, "small", tensor, b"b" * 900])
    got, small, moved, last = one.hall.asks[0].inputs
    assert (small, last) == ("small", b"b" * 900)
    assert isinstance(got, ObjectRef)
    assert isinstance(moved, ObjectRef)
    assert (got.media_type, got.size) == ("image/png", 5000)
    assert one.hall.store.kept[got.uri][0] == file.read_bytes()
    assert one.hall.store.kept[moved.uri][0] == tensor.data
    assert shop.asked == ["PUT"] * 3
    assert client.upload(file).sha256 == got.sha256


def test_without_a_store_inputs_stay_inline(one: Gateway, client: Client, tmp_path: Path) -> None:
    one.hall.shelf.objects = None
    text = tmp_path / "a.txt"
    text.write_text("x" * 2000)
    client.infer("echo", [text])
    assert one.hall.asks[0].inputs == ("x" * 2000,)
    with pytest.raises(CallError, match="no object store"):
        client.upload(text)
    with pytest.raises(Invalid, match="no content of its own"):
        client.upload(ChatMessage("user", "x"))


def test_small_files_are_what_their_names_say(one: Gateway, client: Client, tmp_path: Path) -> None:
    files = {"a.txt": "é".encode(), "a.json": b"{}", "a.bin": b"\xff", "bad.txt": b"\xff"}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    client.infer("echo", [tmp_path / name for name in files if name != "bad.txt"])
    assert one.hall.asks[0].inputs == ("é", "{}", b"\xff")
    with pytest.raises(Invalid, match="not UTF-8"):
        client.infer("echo", [tmp_path / "bad.txt"])


def test_a_store_that_stays_away_is_said(one: Gateway, client: Client, shop: Shop) -> None:
    shop.refuses = 10
    with pytest.raises(CallError) as caught:
        client.infer("echo", ["x" * 2000])
    assert caught.value.code == "store_unavailable"
    assert shop.asked == ["PUT"] * 4


def test_large_outputs_are_fetched_and_downloaded(
    one: Gateway, client: Client, shop: Shop, tmp_path: Path
) -> None:
    data = bytes(range(256)) * 10_000
    ref = kept(one, data, "image/png")
    one.hall.outputs = (ref,)
    (output,) = client.infer("echo", ["a"]).outputs
    assert output == ref
    assert client.fetch(output) == data
    assert client.fetch("as it is") == "as it is"
    cuts = iter([1_000_000, 500_000])
    shop.cut = lambda: next(cuts, None)
    assert isinstance(output, ObjectRef)
    client.download(output, tmp_path / "image.png")
    assert (tmp_path / "image.png").read_bytes() == data
    assert shop.asked[-1].startswith("bytes=")
    assert [*tmp_path.iterdir()] == [tmp_path / "image.png"]


def test_vectors_by_reference_are_an_array_too(one: Gateway, client: Client, shop: Shop) -> None:
    tensor = vectors((1.0, 2.0))
    media_type = 'application/vnd.modelmora.tensor; dtype=FP32; shape="1,2"; name=""'
    one.hall.outputs = (kept(one, tensor.data, media_type),)
    assert client.embed("echo", ["a"]).tolist() == [[1, 2]]


def test_an_output_that_is_another_or_gone_is_not_written(
    one: Gateway, client: Client, shop: Shop, tmp_path: Path
) -> None:
    ref = kept(one, b"right", "text/plain")
    one.hall.store.kept[ref.uri] = b"wrong", "text/plain"
    with pytest.raises(CallError, match="not what its reference says"):
        client.download(ref, tmp_path / "a")
    del one.hall.store.kept[ref.uri]
    with pytest.raises(CallError) as caught:
        client.download(ref, tmp_path / "a")
    assert caught.value.code == "gone"
    assert shop.asked == ["GET", "GET"], "what is gone is not asked for again"
    with pytest.raises(CallError, match="no URL"):
        client.fetch(ObjectRef(ref.uri, ref.sha256, ref.size, ref.media_type, ref.expires_at))
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(("lies", "times"), [(b"", 4), (b"wrong" * 1000, 1)])
def test_less_of_an_object_is_not_awaited_for_ever_and_more_not_taken(
    client: Client,
    shop: Shop,
    one: Gateway,
    monkeypatch: pytest.MonkeyPatch,
    lies: bytes,
    times: int,
) -> None:
    written: set[bytes] = set()

    async def into(pieces: Any, _path: Path) -> None:
        async for piece in pieces:
            written.add(piece)

    monkeypatch.setattr(objects, "into", into)
    ref = kept(one, b"right", "text/plain")
    one.hall.store.kept[ref.uri] = lies, "text/plain"
    with pytest.raises(CallError) as caught:
        client.download(ref, "a")
    assert (caught.value.code, len(shop.asked)) == ("store_unavailable", times)
    assert written == set()


def test_an_output_of_no_bytes_stays_bytes(one: Gateway, client: Client) -> None:
    one.hall.outputs = (b"",)
    assert client.infer("echo", ["a"]).outputs == (b"",)


@pytest.mark.parametrize(
    "inputs",
    [
        "a",
        b"a",
        {"role": "user", "content": "a"},
        [1],
        [{"role": "user"}],
        [Path("/none")],
        ["\ud800"],
    ],
)
def test_what_no_model_takes_is_not_asked(one: Gateway, client: Client, inputs: Any) -> None:
    with pytest.raises(Invalid):
        client.infer("echo", inputs)
    with pytest.raises(Invalid, match=r"parameters\.n"):
        client.infer("echo", ["a"], parameters={"n": 1 << 70})
    assert one.hall.asks == []
