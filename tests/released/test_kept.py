"""What earlier releases wrote is read by this one, and what they could be told still can be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelmora import settings as own_settings
from modelmora.records.reading import file_of
from modelmora.records.store import Store, peek
from modelmora.registry.lock import read_lock
from modelmora.settings import Settings
from tests.released.keep import EXAMPLES, PLACE, ROOT, told
from tests.unit.wire.pairs import PAIRS

HERE = Path(__file__).parent
RELEASES = sorted(path for path in HERE.iterdir() if (path / "records.json").exists())
READERS = {pair.schema: pair.decode for pair in PAIRS}


@pytest.fixture(params=RELEASES, ids=[path.name for path in RELEASES])
def release(request: pytest.FixtureRequest) -> Path:
    kept: Path = request.param
    return kept


def records(release: Path) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = json.loads((release / "records.json").read_text())
    return kept


def test_records(release: Path) -> None:
    for each in records(release):
        read = told(READERS[each["schema"]](bytes.fromhex(each["value"])))
        assert {field: read[field] for field in each["told"]} == each["told"]
    assert {each["schema"] for each in records(release)} <= set(READERS)
    assert len(records(release)) >= EXAMPLES


def test_what_was_read_of_the_registry(release: Path, tmp_path: Path) -> None:
    file = Path(shutil.copy(release / "registry.sqlite", tmp_path))
    seen = peek(file)
    store = Store(file)
    kept = store.open()
    store.close()
    assert store.fault is None
    assert (kept.topic_id, kept.next) == PLACE
    assert kept.entries == seen
    assert len(seen) >= 6
    written = [each["told"] for each in records(release)]
    for entry in seen.values():
        now = told(entry.record)
        assert any({f: now[f] for f in each if f in now} == each for each in written)


def test_the_lock_file(release: Path, tmp_path: Path) -> None:
    lock = read_lock(Settings(lock_file=release / "modelmora.lock", data_dir=tmp_path))
    (model,) = lock.models.values()
    assert model.details.files


def paths(schema: Any, root: Any, at: str = "") -> Iterator[str]:
    """Every setting that a schema of settings knows, by its path."""
    for name, inner in schema.get("properties", {}).items():
        yield f"{at}{name}"
        yield from paths(inner, root, f"{at}{name}.")
    for branch in (*schema.get("anyOf", ()), *schema.get("allOf", ())):
        yield from paths(branch, root, at)
    if isinstance(schema.get("items"), dict):
        yield from paths(schema["items"], root, at)
    if ref := schema.get("$ref"):
        yield from paths(root["$defs"][ref.rpartition("/")[2]], root, at)


@pytest.mark.parametrize("name", ["schema.json", "models.schema.json"])
def test_settings(release: Path, name: str) -> None:
    """A setting that is gone would stop whoever has it in a file."""
    before = json.loads((release / name).read_text())
    now = json.loads((ROOT / "modelmora" / "settings" / name).read_text())
    known = set(paths(now, now))
    assert len(known) > 10
    assert sorted(set(paths(before, before)) - known) == []


def test_where_it_lies(tmp_path: Path) -> None:
    """By these names the next release finds what this one has kept."""
    settings = Settings(data_dir=tmp_path, namespace="ns")
    assert file_of(settings, "node") == tmp_path / "registry" / "ns.node.sqlite"
    assert own_settings.loading.DEFAULT_CONFIG == "modelmora.yaml"
    assert Settings().lock_file == Path("modelmora.lock")
