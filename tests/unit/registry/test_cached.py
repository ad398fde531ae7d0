"""What lies in the caches, who has it, and what goes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelmora.messages import RegistryKind, RegistryRecord
from modelmora.records import Entry, model_key, record_of
from modelmora.records.reading import file_of
from modelmora.records.store import Store
from modelmora.registry.cached import cached, clean
from modelmora.registry.sources import Sources
from modelmora.registry.sources.base import quiet
from modelmora.settings import AdapterConfig, ModelConfig, Settings
from tests.unit.registry.test_cache import WHOLE, unchecked
from tests.unit.registry.test_cache import Store as Remote

OURS, FREE, SHARED = "s3://models/ours", "s3://models/free", "https://host/shared.gguf"
TUNE, THEIRS = "s3://models/tune", "s3://models/theirs"
COMMIT = "a" * 40


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A cache with a model of this folder, one of the registry, two of nobody, half a fetch."""
    ours = ModelConfig(name="ours", task="txt2embed", source=f"S3://{OURS[5:]}/", revision="r1")
    made = Settings(data_dir=tmp_path / "data", cache_dir=tmp_path / "cache", models=(ours,))
    cache, remote = Sources(made).cache, Remote(WHOLE)
    for source, revision in ((OURS, "r1"), (OURS, "r0"), (FREE, "r1"), (SHARED, "r1")):
        cache.fetch(source, revision, remote.files(), remote.read, quiet, unchecked)
    cut = Remote(WHOLE, stop=50)
    with pytest.raises(ConnectionError):
        cache.fetch("s3://models/half", "r1", cut.files(), cut.read, quiet, unchecked)
    snapshot = tmp_path / "cache/hub/models--org--name/snapshots" / COMMIT
    blob = snapshot.parents[1] / "blobs/b"
    for folder in (snapshot, blob.parent):
        folder.mkdir(parents=True)
    blob.write_bytes(b"12345")
    (snapshot / "config.json").symlink_to(blob)
    record = RegistryRecord(RegistryKind.MODEL, "shared", "1", "txt2txt", SHARED, "n2")
    store = Store(file_of(made, "node"))
    store.open()
    store.keep("t", 1, [(model_key("shared", "1"), Entry(0, record))])
    store.close()
    return made


def test_all_that_lies_there_is_listed_with_who_has_it(settings: Settings) -> None:
    found = {(each.source, each.revision): each for each in cached(settings)}
    assert {key: each.models for key, each in found.items() if key[1]} == {
        (OURS, "r1"): ("ours@1",),
        (OURS, "r0"): (),
        (FREE, "r1"): (),
        (SHARED, "r1"): ("shared@1",),
        ("hf:org/name", COMMIT): (),
    }
    (half,) = (each for each in found.values() if each.revision is None)
    assert half.source.startswith("s3-models-half")
    assert half.size_bytes == 52
    assert found[OURS, "r1"].size_bytes == 102
    assert found["hf:org/name", COMMIT].size_bytes == 5
    assert not any(each.claimed for each in found.values())
    empty = settings.model_copy(update={"cache_dir": settings.data_dir / "none"})
    assert cached(empty) == []


def test_only_what_nobody_has_goes(settings: Settings) -> None:
    assert clean(settings, 3600) == [], "it was read lately"
    dry = clean(settings, 0, dry_run=True)
    before = len(cached(settings))
    gone = clean(settings, 0)
    assert gone == dry
    assert {(each.source, each.revision) for each in gone if each.revision} == {
        (OURS, "r0"),
        (FREE, "r1"),
    }
    assert before - len(cached(settings)) == len(gone) == 3
    (hub,) = clean(settings, 0, hub=True)
    assert hub.source == "hf:org/name"
    assert {each.source for each in cached(settings)} == {OURS, SHARED}


def test_what_is_claimed_or_was_read_lately_stays(settings: Settings) -> None:
    entries = {(each.source, each.revision): each for each in cached(settings)}
    free = entries[FREE, "r1"]
    claim = Sources(settings).cache.root / ".claims" / f"{free.path.parent.name}-r1"
    claim.write_text("another machine's")
    old = entries[OURS, "r0"]
    for path in old.path.rglob("*"):
        os.utime(path, (1, 1))
    assert [(each.source, each.revision) for each in clean(settings, 3600)] == [(OURS, "r0")]
    assert (FREE, "r1") not in {(each.source, each.revision) for each in clean(settings, 0)}
    claim.unlink()
    assert (FREE, "r1") in {(each.source, each.revision) for each in clean(settings, 0)}


def test_adapters_are_had_by_their_models(settings: Settings) -> None:
    cache, remote = Sources(settings).cache, Remote(WHOLE)
    for source in (TUNE, THEIRS):
        cache.fetch(source, "r1", remote.files(), remote.read, quiet, unchecked)
    (ours,) = settings.models
    tuned = ours.model_copy(update={"adapter": AdapterConfig(source=TUNE, revision="r1")})
    record = record_of(
        ModelConfig(
            name="far",
            task="txt2embed",
            source=OURS,
            revision="r0",
            adapter=AdapterConfig(source=THEIRS, revision="r1"),
        ),
        "n2",
    )
    store = Store(file_of(settings, "node"))
    store.open()
    store.keep("t", 2, [(model_key("far", "1"), Entry(1, record))])
    store.close()
    clean(settings.model_copy(update={"models": (tuned,)}), 0)
    assert {(each.source, each.models) for each in cached(settings) if each.revision == "r1"} >= {
        (THEIRS, ("far@1",)),
        (TUNE, ()),
    }


def test_what_has_no_note_is_listed_and_goes_like_all_else(settings: Settings) -> None:
    root = Sources(settings).cache.root
    for note in root.glob("*/source"):
        note.unlink()
    (root / "of-somebody-else").mkdir()
    found = {(each.source, each.models) for each in cached(settings) if each.revision == "r1"}
    assert {(OURS, ("ours@1",)), (SHARED, ("shared@1",))} < found
    (free,) = {source for source, _ in found} - {OURS, SHARED}
    assert free.startswith("s3-models-free-")
    assert (free, "r1") in {(each.source, each.revision) for each in clean(settings, 0)}
    left = {each.source for each in cached(settings)}
    assert left == {OURS, SHARED, "hf:org/name"}
    remote = Remote(WHOLE)
    Sources(settings).cache.fetch(OURS, "r1", remote.files(), remote.read, quiet, unchecked)
    assert remote.asked == []
    assert len([*root.glob("*/source")]) == 1, "who finds it there says what it is"
