"""Large content: put where a gateway says, got by its signed URL, never more of it than it is."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import IO, TYPE_CHECKING

from modelmora.client.asks import media_type_of, no_unicode
from modelmora.client.errors import CallError
from modelmora.errors import Invalid
from modelmora.messages import Content, ObjectRef, SignedRef, Tensor

if TYPE_CHECKING:
    import httpx

PIECE = 256 << 10
ATTEMPTS = 4
QUIET_S = 30.0
"""A store that says nothing for so long is asked again."""
_MOVED = (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE)


class Store:
    """The object store behind the gateways, by URLs that they sign; connected when first used."""

    def __init__(self, ca: bytes | None = None) -> None:
        self._ca = ca
        self._http: httpx.AsyncClient | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._http:
            await self._http.aclose()

    async def put(self, url: str, content: bytes | Path, size: int, media_type: str) -> None:
        """Put it there. Raises CallError (`store_unavailable`, or as the store refuses)."""
        body = content if isinstance(content, bytes) else _pieces_of(content)
        headers = {"content-length": str(size), "content-type": media_type}
        async with self._asking():
            answer = await self._client().put(url, content=body, headers=headers)
        if not answer.is_success:
            raise _refused(answer.status_code, "took")

    async def pieces(self, ref: SignedRef) -> AsyncGenerator[bytes]:
        """The object, gone on with where it was cut. Raises CallError.

        Only when the last has come it is known that all were right.
        """
        digest, came, tries = hashlib.sha256(), 0, 0
        while came < ref.size:
            tries += 1
            try:
                async with contextlib.aclosing(self._from(ref, came)) as coming:
                    async for piece in coming:
                        came += len(piece)
                        if came > ref.size:
                            break
                        digest.update(piece)
                        yield piece
                        tries = 0
                if tries and came < ref.size:
                    raise CallError("store_unavailable", "the object store gave nothing")
            except CallError as error:
                if error.code == "gone" or tries >= ATTEMPTS:
                    raise
                await asyncio.sleep(0.1 * 2**tries)
        if came != ref.size or digest.hexdigest() != ref.sha256:
            raise CallError("store_unavailable", "the object is not what its reference says")

    async def _from(self, ref: SignedRef, start: int) -> AsyncGenerator[bytes]:
        headers = {"accept-encoding": "identity"}
        headers |= {"range": f"bytes={start}-"} if start else {}
        whole = HTTPStatus.PARTIAL_CONTENT if start else HTTPStatus.OK
        async with self._asking(), self._client().stream("GET", ref.url, headers=headers) as got:
            if got.status_code != whole:
                raise _refused(got.status_code, "gave")
            async for piece in got.aiter_bytes(PIECE):
                yield piece

    def _client(self) -> httpx.AsyncClient:
        import ssl

        import httpx

        if self._http is None:
            trusted = ssl.create_default_context(cadata=self._ca.decode()) if self._ca else True
            self._http = httpx.AsyncClient(timeout=QUIET_S, trust_env=False, verify=trusted)
        return self._http

    @contextlib.asynccontextmanager
    async def _asking(self) -> AsyncGenerator[None]:
        import httpx

        try:
            yield
        except (httpx.HTTPError, httpx.InvalidURL):
            raise CallError("store_unavailable", "the object store does not answer") from None


async def whole(pieces: AsyncIterable[bytes], ref: ObjectRef) -> Content:
    """The content that an object is. Raises CallError."""
    return _content(b"".join([piece async for piece in pieces]), ref.media_type)


async def into(pieces: AsyncIterable[bytes], path: Path) -> None:
    """Write the file, which is there once all of it has come. Raises CallError, OSError."""
    with _coming(path) as file:
        async for piece in pieces:
            await asyncio.to_thread(file.write, piece)


@contextlib.contextmanager
def _coming(path: Path) -> Iterator[IO[bytes]]:
    """A file beside it, that takes its place in the end."""
    beside = path.with_name(f".{uuid.uuid4().hex}.coming")
    try:
        with beside.open("xb") as file:
            yield file
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def size_of(content: Content | Path) -> int:
    """Its bytes (of a text its characters), 0 for what is no content of its own. Raises Invalid."""
    match content:
        case str() | bytes():
            return len(content)
        case Tensor():
            return len(content.data)
        case Path():
            with _readable(content):
                return content.stat().st_size
    return 0


def form_of(content: Content | Path) -> tuple[bytes | Path, str]:
    """Bytes, or a file that has them, and their media type. Raises Invalid."""
    if isinstance(content, Path):
        return content, media_type_of(content)
    from modelmora.objects.contents import stored_form

    try:
        form = stored_form(content)
    except UnicodeError:
        raise no_unicode() from None
    if form is None:
        raise Invalid(f"{type(content).__name__} is no content of its own")
    return form


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Invalid(f"{path}: {error.strerror}") from None


def sha256_of(content: bytes | Path) -> str:
    """Its digest."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(path: Path) -> Content:
    """A small file as what its media type says. Raises Invalid."""
    with _readable(path):
        data = path.read_bytes()
    try:
        return _content(data, media_type_of(path))
    except CallError as error:
        raise Invalid(f"{path}: {error}") from None


def _content(data: bytes, media_type: str) -> Content:
    # Late, as below: with the store come the settings, which take longer than all of the client.
    from modelmora.objects.contents import content_of
    from modelmora.objects.store import Bad

    try:
        return content_of(data, media_type)
    except Bad as error:
        raise CallError("store_unavailable", str(error)) from None


async def _pieces_of(path: Path) -> AsyncGenerator[bytes]:
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, PIECE):
            yield piece


def _refused(status: int, did: str) -> CallError:
    code = "gone" if status in _MOVED else "store_unavailable"
    hint = "; ask for the result again" if code == "gone" else ""
    return CallError(code, f"the object store {did} nothing ({status}){hint}")
