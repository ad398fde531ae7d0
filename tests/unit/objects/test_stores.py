"""Each store keeps, reads, signs and sweeps alike."""

from __future__ import annotations

import stat
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from modelmora.errors import (
    Code,
    ConfigurationError,
    NotFound,
    RequestError,
    Unreachable,
)
from modelmora.messages import ObjectRef
from modelmora.objects import Bad, Full, Objects, Store
from modelmora.objects.folder import FolderStore
from modelmora.objects.keys import HOUR_MS
from modelmora.objects.s3 import S3Store
from modelmora.settings.objects import ObjectSettings
from modelmora.testing.objects import MemoryStore
from tests.object_stores import ObjectStore, object_store
from tests.unit.objects.stores import Clock, objects_on

LARGE = bytes(range(256)) * 20_000


@pytest.fixture(scope="module")
def bucket() -> Iterator[ObjectStore]:
    with object_store() as store:
        store.put("modelmora", {})
        store.put("others", {"a/model.txt": b"theirs"})
        yield store


def s3(server: ObjectStore, **more: object) -> S3Store:
    """Ours there, under a prefix of its own."""
    told = {"endpoint": server.url, "access_key": server.key, "secret_key": server.secret}
    told["prefix"] = f"{uuid.uuid4().hex}/"
    return S3Store.of(ObjectSettings.model_validate({**told, **more}))


@pytest.fixture(params=["folder", "s3", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return FolderStore(tmp_path / "objects", 10 << 30)
    if request.param == "s3":
        return s3(request.getfixturevalue("bucket"))
    return MemoryStore()


def test_what_is_put_is_read_again(store: Store, tmp_path: Path) -> None:
    objects = objects_on(store)
    ref = objects.put(LARGE, "image/png", "ann")
    assert objects.read(ref) == LARGE
    assert store.size(ref.uri) == ref.size == len(LARGE)
    (tmp_path / "f").write_bytes(LARGE)
    assert objects.put(tmp_path / "f", "image/png", "ann") == ref
    assert not (tmp_path / "f").exists()
    store.delete(ref.uri.removeprefix(store.home))
    store.delete(ref.uri.removeprefix(store.home))
    with pytest.raises(NotFound, match="no such object"):
        objects.read(ref)
    with pytest.raises(NotFound, match="no such object"):
        store.size(ref.uri)


def test_another_content_is_seen(store: Store) -> None:
    objects = objects_on(store)
    ref = objects.put(b"a" * 100, "text/plain", "ann")
    store.put(ref.uri.removeprefix(store.home), b"b" * 100, "text/plain")
    for told in (ref, replace(ref, size=99), replace(ref, size=101)):
        with pytest.raises(Bad, match="differs"):
            objects.read(told)


def test_an_object_is_its_principals_alone(store: Store) -> None:
    objects = objects_on(store)
    ref = objects.put(b"a", "text/plain", "ann")
    objects.check(ref, "ann")
    assert objects.url(ref, "ann")
    assert objects.url(ref, "bob") is None
    with pytest.raises(RequestError, match="of yours"):
        objects.check(ref, "bob")


def test_what_has_expired_goes_and_no_more(store: Store) -> None:
    clock = Clock()
    objects = objects_on(store, clock)
    objects.sweep()
    old = objects.put(b"old", "text/plain", "ann")
    clock.ms += HOUR_MS + 1
    assert objects.url(old, "ann") is None
    with pytest.raises(RequestError, match="expired"):
        objects.check(old, "ann")
    clock.ms += HOUR_MS
    new = objects.put(b"new", "text/plain", "ann")
    with ThreadPoolExecutor(4) as threads:  # several nodes
        swept = [*threads.map(lambda _: objects.sweep(), range(4))]
    assert max(swept) == 1
    assert objects.read(new) == b"new"
    with pytest.raises(NotFound):
        objects.read(old)
    assert objects.sweep() == 0


def test_many_may_put_the_same_into_a_folder_at_once(tmp_path: Path) -> None:
    objects = objects_on(FolderStore(tmp_path / "objects", 10 << 30))
    with ThreadPoolExecutor(8) as threads:
        refs = {*threads.map(lambda _: objects.put(LARGE, "image/png", "ann"), range(16))}
    assert len(refs) == 1
    assert objects.read(refs.pop()) == LARGE


# Where they may be read from -------------------------------------------------------------------


@pytest.mark.parametrize(
    "uri",
    [
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "modelmora://objects/../../key",
        "modelmora://objects/incoming/x",
        "s3://secret/x",
        "s3://othersx/y",
        "",
    ],
)
def test_nothing_else_is_ever_read(store: Store, uri: str) -> None:
    objects = objects_on(store, input_buckets=("others",))
    ref = ObjectRef(uri, "a" * 64, 1, "text/plain", 10**15)
    with pytest.raises(RequestError, match="may not be read") as refused:
        objects.check(ref, "ann")
    assert refused.value.code is Code.INVALID_INPUT


def test_a_bucket_that_is_named_is_read(bucket: ObjectStore) -> None:
    import hashlib

    objects = objects_on(s3(bucket), input_buckets=("others",))
    sha256 = hashlib.sha256(b"theirs").hexdigest()
    ref = ObjectRef("s3://others/a/model.txt", sha256, 6, "text/plain", 10**15)
    objects.check(ref, "ann")
    assert objects.read(ref) == b"theirs"
    assert objects.url(ref, "ann") is None
    with pytest.raises(RequestError, match="64 of"):
        objects.check(replace(ref, sha256=""), "ann")


# S3 ----------------------------------------------------------------------------------------------


def real(store: Store) -> Objects:
    return Objects(store, ObjectSettings())


def test_s3_signs_what_a_browser_may_get_and_put(bucket: ObjectStore) -> None:
    import hashlib

    objects = real(s3(bucket))
    place = objects.announce(hashlib.sha256(LARGE).hexdigest(), len(LARGE), "image/png", "ann")
    assert httpx.put(place.url, content=LARGE).status_code == 200
    url = objects.url(place.ref, "ann")
    assert url
    answer = httpx.get(url)
    assert (answer.status_code, answer.content == LARGE) == (200, True)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"] == "attachment"


def test_callers_may_know_s3_by_another_address(bucket: ObjectStore) -> None:
    objects = real(s3(bucket, public_url="https://objects.example.com"))
    url = objects.url(objects.put(b"a", "text/plain", "ann"), "ann")
    assert url
    assert url.startswith("https://objects.example.com/modelmora/")


def test_what_is_wrong_with_s3_is_told_in_our_words(bucket: ObjectStore) -> None:
    ref = ObjectRef("s3://modelmora/objects/x", "a" * 64, 1, "text/plain", 10**15)
    with pytest.raises(ConfigurationError, match="no bucket of s3://missing"):
        s3(bucket, bucket="missing").put("a", b"x", "text/plain")
    nobody = s3(bucket, endpoint="http://127.0.0.1:9", access_key="a", secret_key="b")
    with pytest.raises(Unreachable, match="does not answer"):
        nobody.size(ref.uri)


# The folder --------------------------------------------------------------------------------------


def test_a_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "objects", 10_000)
    ref = objects_on(store).put(b"a", "text/plain", "ann")
    store.sign("GET", "n", "t", 1, 2)
    for path in (tmp_path / "objects").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    assert store.path(ref.uri.removeprefix(store.home)).read_bytes() == b"a"


def test_who_share_a_folder_share_what_they_sign_with(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        stores = (FolderStore(tmp_path / "objects", 10_000) for _ in range(16))
        assert len({*threads.map(lambda store: store.secret, stores)}) == 1


@pytest.mark.row("F13")
def test_a_folder_takes_no_more_than_its_quota(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "objects", 1000)
    objects = objects_on(store)
    objects.put(b"a" * 600, "text/plain", "ann")
    with pytest.raises(Full, match=r"quota_bytes"):
        objects.put(b"b" * 600, "text/plain", "ann")
    with pytest.raises(Full):  # also what another process wrote
        objects_on(FolderStore(tmp_path / "objects", 1000)).put(b"b" * 600, "text/plain", "ann")
    assert not [*(tmp_path / "objects" / "incoming").glob("*")]


def test_a_full_disk_is_told_as_such() -> None:
    store = FolderStore(Path("/dev/full"), 1000)
    with pytest.raises(Unreachable, match="cannot be used"):
        objects_on(store).put(b"a", "text/plain", "ann")


def test_what_was_never_finished_is_swept(tmp_path: Path) -> None:
    import os

    store = FolderStore(tmp_path / "objects", 1000)
    with store.incoming() as (_, fresh):
        stale = fresh.with_name("stale")
        stale.write_bytes(b"x")
        os.utime(stale, (1, 1))
        assert store.sweep(0) == 0
        assert (fresh.exists(), stale.exists()) == (True, False)
