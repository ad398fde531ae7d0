"""The kept registry: gone on from, made anew where it is damaged, done without where it must be."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from modelmora.messages import RegistryKind, RegistryRecord
from modelmora.records import Entry, Registry, key_of
from modelmora.records.reading import FORM, Reading
from modelmora.records.store import Kept, Store, peek
from modelmora.settings import Settings

MODEL = RegistryRecord(RegistryKind.MODEL, "m", "1", "t", "/s", "w", details='{"pinned":true}')
KEY = key_of(MODEL)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "registry" / "kept.sqlite"


def _kept(path: Path, topic_id: str = "t1") -> Kept:
    store = Store(path)
    assert store.open() == Kept()
    entries = {KEY: Entry(3, MODEL), b"ROUTE:m@": Entry(4, replace(MODEL, name="r"), buried=True)}
    store.keep(topic_id, 5, entries.items())
    store.close()
    return Kept(topic_id, 5, entries)


def test_what_another_process_keeps_can_be_looked_at(path: Path) -> None:
    assert peek(path) == {}
    kept = _kept(path)
    store = Store(path)
    store.open()
    assert peek(path) == kept.entries, "while it runs"
    store.close()
    path.write_bytes(b"no database" * 1000)
    assert peek(path) == {}


def test_what_was_kept_is_read_again(path: Path) -> None:
    kept = _kept(path)
    store = Store(path)
    assert store.open() == kept
    store.keep("t1", 9, [(b"ROUTE:m@", None), (KEY, Entry(7, MODEL))])
    assert Store(path).open() == Kept("t1", 9, {KEY: Entry(7, MODEL)})
    store.keep("t2", 1, [])
    assert Store(path).open() == Kept("t2", 1, {}), "another topic: nothing of the former is left"
    store.close()


@pytest.mark.parametrize("what", ["noise", "empty", "cut", "later", "foreign", "record"])
def test_a_file_that_cannot_be_read_is_made_anew(path: Path, what: str) -> None:
    _kept(path)
    if what == "noise":
        path.write_bytes(b"no database" * 1000)
    elif what == "empty":
        path.write_bytes(b"")
    elif what == "cut":
        path.write_bytes(path.read_bytes()[:5000])
    else:
        with sqlite3.connect(path) as file:
            file.execute(
                {
                    "later": "PRAGMA user_version = 99",
                    "foreign": "DROP TABLE entry",
                    "record": "UPDATE entry SET value = x'00'",
                }[what]
            )
        file.close()
    store = Store(path)
    assert store.open() == Kept()
    store.keep("t1", 1, [(KEY, Entry(0, MODEL))])
    store.close()
    assert Store(path).open() == Kept("t1", 1, {KEY: Entry(0, MODEL)})


def test_where_nothing_can_be_kept_all_goes_on(path: Path) -> None:
    path.parent.mkdir()
    path.mkdir()
    store = Store(path)
    assert store.open() == Kept()
    assert store.fault
    store.keep("t", 1, [(KEY, Entry(0, MODEL))])
    store.close()


def test_a_file_that_fails_later_is_kept_no_more(path: Path) -> None:
    store = Store(path)
    store.open()
    with sqlite3.connect(path) as file:
        file.execute("DROP TABLE entry")
    file.close()
    store.keep("t", 1, [(KEY, Entry(0, MODEL))])
    assert store.fault
    store.keep("t", 2, [])


@pytest.mark.row("F13")
def test_a_disk_that_is_full_is_told_once(path: Path) -> None:
    store = Store(path)
    store.open()
    assert store._file
    store._file.execute("PRAGMA max_page_count = 1")
    huge = replace(MODEL, details='"' + "x" * 100_000 + '"')
    store.keep("t", 1, [(KEY, Entry(0, huge))])
    assert "full" in (store.fault or "")
    assert Store(path).open() == Kept(), "half of it was not kept"


async def test_reading_goes_on_where_it_was_left(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    registry = Registry()
    reading = Reading(registry, settings, "node")
    assert await reading.begin("t1") == 0
    for offset, (record, at_ms) in enumerate(
        ((MODEL, 0), (replace(MODEL, name="n"), 700_000), (replace(MODEL, name="o"), 1_000_000))
    ):
        registry.take(key_of(record), record, offset)
        reading.note(key_of(record), offset, at_ms)
    reading.note(b"NODE:n@", 3, 1_000_001)
    await reading.end()
    again = Registry()
    later = Reading(again, settings, "node")
    assert await later.begin("t1") == 1, "the last ten minutes are read again"
    assert again.entries == registry.entries
    later.begun(1, 0)
    assert not again.entries, "the log has not that place: all is read"
    await later.end()
    assert await Reading(Registry(), settings, "node").begin("t2") == 0
    assert await Reading(Registry(), settings, "gateway").begin("t1") == 0


async def test_what_an_older_release_has_kept_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has passed over what was written in the newer form, and read on behind it."""
    settings = Settings(data_dir=tmp_path)
    for form, begins in (("older", 0), ("older", 7), (FORM, 0)):
        monkeypatch.setattr("modelmora.records.reading.FORM", form)
        registry = Registry()
        reading = Reading(registry, settings, "node")
        assert await reading.begin("t1") == begins
        registry.take(key_of(MODEL), MODEL, 7)
        reading.note(key_of(MODEL), 7, 0)
        await reading.end()
