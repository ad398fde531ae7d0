"""Kafka's jars: fetched once, checked every time, one line for people when they cannot be had."""

from __future__ import annotations

import functools
import gc
import hashlib
import http.server
import importlib
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import pytest

from modelmora.broker import jars
from modelmora.broker.jars import Jar, JarsUnavailable, cache_folder, ensure_jars, parse_sums
from modelmora.broker.ports import any_ports
from modelmora.errors import ConfigurationError, MissingExtra

CONTENT = {
    "org/one/alpha/1.0/alpha-1.0.jar": b"alpha",
    "org/two/beta/2.0/beta-2.0.jar": b"beta" * 1000,
}


class Maven:
    """A Maven repository on this machine that counts what is asked of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: Counter[str] = Counter()
        asked = self.asked

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                asked[self.path] += 1

        handler = functools.partial(Handler, directory=str(folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        for path, content in CONTENT.items():
            self.put(path, content)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    @property
    def jars_asked(self) -> dict[str, int]:
        return {path: count for path, count in self.asked.items() if path.endswith(".jar")}

    def put(self, path: str, content: bytes) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.with_name(target.name + ".sha1").write_text(hashlib.sha1(content).hexdigest())


@pytest.fixture(autouse=True)
def connections_of_jgo_collected() -> Iterator[None]:
    """It leaves refused responses to the garbage collector, which may warn in any later test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def maven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Maven]:
    repository = Maven(tmp_path / "maven")
    monkeypatch.setattr("jgo.constants.MAVEN_CENTRAL_URL", repository.url)
    monkeypatch.setenv("JGO_CONFIG_FILE", str(tmp_path / "none"))
    thread = threading.Thread(target=repository.server.serve_forever)
    thread.start()
    yield repository
    repository.server.shutdown()
    repository.server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def small_set(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = tuple(
        Jar(PurePosixPath(path), hashlib.sha256(content).hexdigest(), "broker")
        for path, content in CONTENT.items()
    )
    monkeypatch.setattr(jars, "pinned_jars", lambda *, tools=False: pinned)


def test_fetched_once_then_only_checked(maven: Maven, tmp_path: Path) -> None:
    progress: list[tuple[int, int]] = []
    cache = tmp_path / "cache"
    class_path = ensure_jars(cache=cache, progress=lambda *now: progress.append(now))
    assert [Path(path).read_bytes() for path in class_path.split(":")] == list(CONTENT.values())
    assert progress == [(0, 2), (1, 2), (2, 2)]
    progress.clear()
    assert ensure_jars(cache=cache, progress=lambda *now: progress.append(now)) == class_path
    assert progress == []
    assert set(maven.jars_asked.values()) == {1}
    assert not list((cache / "jars").glob(".fetching-*"))


def test_a_damaged_jar_is_fetched_again(maven: Maven, tmp_path: Path) -> None:
    damaged = Path(ensure_jars(cache=tmp_path / "cache").split(":")[1])
    damaged.write_bytes(b"garbage")
    ensure_jars(cache=tmp_path / "cache")
    assert damaged.read_bytes() == b"beta" * 1000
    assert maven.jars_asked["/org/one/alpha/1.0/alpha-1.0.jar"] == 1


def test_other_bytes_than_pinned_are_never_used(maven: Maven, tmp_path: Path) -> None:
    maven.put("org/two/beta/2.0/beta-2.0.jar", b"evil")
    with pytest.raises(JarsUnavailable, match=r"^beta-2\.0\.jar .*sha256 differs.*$"):
        ensure_jars(cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("beta*.jar"))


def test_a_jar_that_is_not_there(maven: Maven, tmp_path: Path) -> None:
    (maven.folder / "org/two/beta/2.0/beta-2.0.jar").unlink()
    with pytest.raises(JarsUnavailable, match=r"beta-2\.0\.jar"):
        ensure_jars(cache=tmp_path / "cache")


def test_offline_is_one_line_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = any_ports("127.0.0.1", 1)[0]
    monkeypatch.setattr("jgo.constants.MAVEN_CENTRAL_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("JGO_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(JarsUnavailable) as caught:
        ensure_jars(cache=tmp_path / "cache")
    message = str(caught.value)
    assert "no connection to Maven Central" in message
    assert "--bootstrap-servers" in message
    assert "\n" not in message
    assert caught.value.exit_code == 1


def test_several_at_once_fetch_once(maven: Maven, tmp_path: Path) -> None:
    barrier = threading.Barrier(4)

    def start() -> str:
        barrier.wait(30)
        return ensure_jars(cache=tmp_path / "cache")

    with ThreadPoolExecutor(4) as pool:
        paths = {future.result() for future in [pool.submit(start) for _ in range(4)]}
    assert len(paths) == 1
    assert set(maven.jars_asked.values()) == {1}


def test_without_jgo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    importlib.import_module(
        "jgo"
    )  # whole: one that fails half-way is broken for whoever comes after
    monkeypatch.setitem(sys.modules, "jgo.maven", None)
    with pytest.raises(MissingExtra, match=r"modelmora\[broker\]"):
        ensure_jars(cache=tmp_path / "cache")


def test_a_cache_that_cannot_be_written(maven: Maven, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="XDG_CACHE_HOME"):
        ensure_jars(cache=tmp_path / "file")
    assert not maven.asked


def test_sums_file() -> None:
    pinned = parse_sums("# Kafka\n# broker\naa  org/a/b/1/b-1.jar\n# tools\nbb  c/d/2/d-2.jar\n")
    assert [jar.section for jar in pinned] == ["broker", "tools"]
    assert pinned[0].coordinates == ("org.a", "b", "1")
    assert pinned[1] == Jar(PurePosixPath("c/d/2/d-2.jar"), "bb", "tools")


def test_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "modelmora"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder({}) == tmp_path / ".cache" / "modelmora"
    assert cache_folder({"XDG_CACHE_HOME": "relative"}) == tmp_path / ".cache" / "modelmora"
    with pytest.raises(ConfigurationError, match="colon; set XDG_CACHE_HOME"):
        cache_folder({"XDG_CACHE_HOME": "/a:b"})


def test_without_a_home_it_is_said_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(_cls: type[Path]) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", classmethod(homeless))
    with pytest.raises(ConfigurationError, match=r"no home directory .* set XDG_CACHE_HOME"):
        cache_folder({})
