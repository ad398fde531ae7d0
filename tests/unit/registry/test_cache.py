"""What is in the cache is whole, whoever was cut off, frozen or faster meanwhile."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from modelmora.registry.sources import cache as caching
from modelmora.registry.sources import lease
from modelmora.registry.sources.base import Corrupt, File, quiet
from modelmora.registry.sources.cache import Cache

SOURCE = "s3://models/x"


def unchecked(name: str, path: Path) -> None:
    """Nothing is wrong with any file."""


@dataclass
class Store:
    """Files to be read in pieces of 10 bytes; after `stop` bytes of one it breaks off or waits."""

    content: dict[str, bytes]
    stop: int | None = None
    hold: threading.Event | None = None
    reached: threading.Event = field(default_factory=threading.Event)
    asked: list[tuple[str, int]] = field(default_factory=list)

    def files(self, *names: str) -> list[File]:
        return [File(name, len(self.content[name])) for name in names or self.content]

    @contextmanager
    def read(self, file: File, offset: int) -> Iterator[Iterator[bytes]]:
        self.asked.append((file.path, offset))
        yield self._pieces(self.content[file.path], offset)

    def _pieces(self, whole: bytes, offset: int) -> Iterator[bytes]:
        for at in range(offset, len(whole), 10):
            if at == self.stop:
                self.reached.set()
                if self.hold is None:
                    raise ConnectionError
                self.hold.wait(60)
            yield whole[at : at + 10]


WHOLE = {"config.json": b"{}", "a/model.safetensors": bytes(range(100))}


def test_a_fetch_that_was_cut_off_is_gone_on_with_and_shows_nothing_before(tmp_path: Path) -> None:
    cache, store = Cache(tmp_path), Store(WHOLE, stop=50)
    with pytest.raises(ConnectionError):
        cache.fetch(SOURCE, "r1", store.files(), store.read, quiet, unchecked)
    place = cache.folder(SOURCE, "r1")
    assert not place.exists()
    store.stop = None
    cache.fetch(SOURCE, "r1", store.files(), store.read, quiet, unchecked)
    assert store.asked[1:] == [("a/model.safetensors", 0), ("a/model.safetensors", 50)]
    assert {name: (place / name).read_bytes() for name in WHOLE} == WHOLE
    cache.fetch(SOURCE, "r1", store.files(), store.read, quiet, unchecked)
    assert len(store.asked) == 3, "what is here is not asked for"
    assert cache.discard(SOURCE, "r1") == 102
    assert not place.exists()
    assert cache.discard(SOURCE, "r1") == 0


def test_more_files_of_a_revision_come_beside_those_that_are_there(tmp_path: Path) -> None:
    cache, store = Cache(tmp_path), Store({"q4.gguf": b"4" * 60, "q8.gguf": b"8" * 80}, stop=30)
    with pytest.raises(ConnectionError):
        cache.fetch(SOURCE, "r", store.files("q4.gguf"), store.read, quiet, unchecked)
    store.stop = None
    for name in ("q8.gguf", "q4.gguf"):
        cache.fetch(SOURCE, "r", store.files(name), store.read, quiet, unchecked)
    there = {path.name: path.stat().st_size for path in cache.folder(SOURCE, "r").iterdir()}
    assert there == {"q4.gguf": 60, "q8.gguf": 80}
    assert not [path for path in (tmp_path / ".partial").rglob("*") if path.is_file()]


@pytest.mark.row("F17")
def test_two_at_once_fetch_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asks = threading.Event()

    def claimed(path: Path) -> AbstractContextManager[None]:
        asks.set()
        return lease.claimed(path)

    held, second = Store(WHOLE, stop=50, hold=threading.Event()), Store(WHOLE)
    fetches = []
    with ThreadPoolExecutor(2) as pool:
        for store in (held, second):
            fetch = partial(Cache(tmp_path).fetch, SOURCE, "r", store.files(), store.read)
            fetches.append(pool.submit(fetch, quiet, unchecked))
            assert held.reached.wait(30)
            monkeypatch.setattr(caching, "claimed", claimed)
        assert asks.wait(30)
        assert held.hold
        held.hold.set()
    assert [fetch.result() for fetch in fetches] == [None, None]
    assert second.asked == []


@pytest.mark.row("F17")
def test_one_who_was_frozen_and_goes_on_changes_nothing(tmp_path: Path) -> None:
    cache, heirs = Cache(tmp_path), Store(WHOLE)
    frozen = Store(WHOLE, stop=50, hold=threading.Event())
    thread = threading.Thread(
        target=lambda: cache.fetch(SOURCE, "r", frozen.files(), frozen.read, quiet, unchecked)
    )
    thread.start()
    assert frozen.reached.wait(30)
    for claim in (tmp_path / ".claims").iterdir():
        claim.unlink()  # as one does who finds it untouched for a lease
    cache.fetch(SOURCE, "r", heirs.files(), heirs.read, quiet, unchecked)
    assert frozen.hold
    frozen.hold.set()
    thread.join(30)
    place = cache.folder(SOURCE, "r")
    assert {name: (place / name).read_bytes() for name in WHOLE} == WHOLE


def test_what_has_no_end_is_not_kept(tmp_path: Path) -> None:
    cache, store = Cache(tmp_path), Store({"m.gguf": b"x" * 1000})
    with pytest.raises(Corrupt, match="longer than"):
        cache.fetch(SOURCE, "r", [File("m.gguf", 25)], store.read, quiet, unchecked)
    sizes = [path.stat().st_size for path in tmp_path.rglob("m.gguf")]
    assert all(size <= 25 for size in sizes)


def test_what_nobody_goes_on_with_is_swept(tmp_path: Path) -> None:
    for name in ("old", "new", "claimed"):
        (tmp_path / ".partial" / name).mkdir(parents=True)
        (tmp_path / ".partial" / name / "file").write_text("part")
    for name in ("old", "claimed"):
        os.utime(tmp_path / ".partial" / name / "file", (1, 1))
    (tmp_path / ".claims").mkdir()
    (tmp_path / ".claims" / "claimed").write_text("somebody")
    Cache(tmp_path).sweep()
    assert sorted(path.name for path in (tmp_path / ".partial").iterdir()) == ["claimed", "new"]
