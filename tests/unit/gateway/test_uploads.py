"""Files that come as parts of forms, whole and broken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from modelmora.gateway.doors.batches.multipart import Form, Head
from modelmora.gateway.doors.rest.routes import create_app
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import Refusal
from tests.unit.gateway.fakes import FakeHall


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"data": {"purpose": "batch"}}, "multipart"),
        ({"files": {"file": b"x"}, "data": {"purpose": "fine-tune"}}, "purpose"),
        ({"files": {"other": b"x"}, "data": {"purpose": "batch"}}, "other"),
        ({"files": [("file", b"x"), ("file", b"y")], "data": {"purpose": "batch"}}, "twice"),
        ({"content": b"--b\r\n", "headers": {"content-type": "multipart/form-data; boundary=b"}},
         "too early"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, "boundary"),
        ({"content": b"x",
          "headers": {"content-type": f"multipart/form-data; boundary={'b' * 71}"}}, "boundary"),
    ],
)  # fmt: skip
async def test_forms_that_are_none(given: dict[str, Any], why: str) -> None:
    app = create_app(FakeHall(), Metrics(), 100_000)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as raw:
        answer = await raw.post("/v1/files", **given)
    assert (answer.status_code, why in answer.json()["error"]["message"]) == (400, True)


def test_a_form_in_any_pieces() -> None:
    body = (
        b'\r\n--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        b'--b\r\ncontent-disposition: form-data; name="file"; filename="a \xc3\xa4"\r\n'
        b"content-type: a/b\r\n\r\n\r\n--\r\n--\r\r\n--b--\r\nafter"
    )

    def pieces(size: int) -> Iterator[Head | bytes]:
        form = Form("multipart/form-data; boundary=b")
        for at in range(0, len(body), size):
            yield from form.feed(body[at : at + size])
        assert form.ended

    for size in (1, 2, 3, 7, 1000):
        heads: list[Head] = []
        contents: list[bytes] = []
        for piece in pieces(size):
            if isinstance(piece, Head):
                heads.append(piece)
                contents.append(b"")
            else:
                contents[-1] += piece
        assert heads == [Head("purpose", ""), Head("file", "a ä")]
        assert contents == [b"batch", b"\r\n--\r\n--\r"]


@pytest.mark.parametrize(
    ("told", "filename"),
    [
        ('filename="données.jsonl"', "données.jsonl"),
        ("filename*=utf-8''donn%C3%A9es.jsonl", ""),  # RFC 7578, 4.2: not to be used
        (f"filename=\"{'ö' * 255}\"; filename*=utf-8''{'%C3%B6' * 255}", "ö" * 255),
        (f"filename*{'1' * 5000}=x", None),
        ("filename*=a\0b''x", ""),
        ("filename*=idna''x%ff", ""),
    ],
)
def test_names_beyond_ascii(told: str, filename: str | None) -> None:
    part = f'--b\r\ncontent-disposition: form-data; name="file"; {told}\r\n\r\n'
    form = Form("multipart/form-data; boundary=b")
    if filename is not None:
        assert [*form.feed(part.encode())] == [Head("file", filename)]
        return
    with pytest.raises(Refusal):
        [*form.feed(part.encode())]


def test_a_boundary_that_cannot_be_read() -> None:
    with pytest.raises(Refusal):
        Form(f"multipart/form-data; boundary*{'1' * 5000}=b")


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (b"what comes first is no boundary", "broken"),
        (b"--b and more\r\n", "broken"),
        (b"--b\r\nno header\r\n\r\n", "broken"),
        (b"--b\r\nx: y\r\n\r\n", "no name"),
        (b"--b\r\ncontent-disposition: form-data\r\n\r\n", "no name"),
        (b"--b\r\nx: " + b"y" * 5000, "too long"),
        (b"--b\r\n" + b"x" * 5000, "too long"),
        (b"--b\r\n" + b"x: y\r\n" * 9, "too long"),
    ],
)
@pytest.mark.parametrize("size", [1, 10_000])
def test_broken_forms(broken: bytes, why: str, size: int) -> None:
    form = Form("multipart/form-data; boundary=b")
    pieces = [broken[at : at + size] for at in range(0, len(broken), size)]
    with pytest.raises(Refusal, match=why):
        list(map(form.feed, pieces))


async def test_a_form_of_another_site_is_refused() -> None:
    app = create_app(FakeHall(), Metrics(), 100_000)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as raw:
        answer = await raw.post(
            "/v1/files",
            files={"file": b"{}"},
            data={"purpose": "batch"},
            headers={"sec-fetch-site": "cross-site"},
        )
    assert answer.status_code == 403
