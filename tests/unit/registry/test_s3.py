"""Models of an object store: the real client against a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelmora.errors import ConfigurationError, NotFound, Unreachable
from modelmora.registry import Looker, install
from modelmora.registry.removing import remove
from modelmora.settings import Settings, SourceSettings
from tests.object_stores import object_store
from tests.unit.registry.models import make_model, served


@pytest.fixture(scope="module")
def store() -> Iterator[Any]:
    with object_store() as client:
        yield client


@pytest.fixture
def settings(store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", store.key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", store.secret)
    return Settings(
        data_dir=tmp_path / "data",
        cache_dir=tmp_path / "cache",
        sources=SourceSettings(s3_endpoint=store.url),
    )


def test_a_prefix_is_a_model_and_what_changes_there_is_another_revision(
    store: Any, settings: Settings, tmp_path: Path
) -> None:
    folder = make_model(tmp_path / "m")
    store.put("models", {f"a/tiny/{path.name}": path.read_bytes() for path in folder.iterdir()})
    store.put("models", {"a/tiny/README.md": b"hi", "a/tiny/old.bin": b"x", "a/tinyness": b"no"})
    first = install(settings, "s3://models/a/tiny")
    assert (first.key, first.task) == (("tiny", "1"), "txt2embed")
    assert len(first.details.files) == 4
    assert Looker(settings).look((first,))[0].fault is None
    store.put("models", {"a/tiny/config.json": b'{"hidden_size": 16, "vocab_size": 8, "new": 1}'})
    second = install(settings, "s3://models/a/tiny/", version="2")
    assert first.details.revision != second.details.revision
    assert Looker(settings).look((first,))[0].fault is None, "the first is still there"
    places = [path for path in (tmp_path / "cache").glob("*/*") if path.is_dir()]
    assert len([path for path in places if not path.parent.name.startswith(".")]) == 2
    _, freed = remove(settings, "tiny", "1", files=True)
    assert freed == sum(file.size for file in first.details.files)
    assert Looker(settings).look((second,))[0].fault is None
    assert [each.key for each in served(settings) if each.name == "tiny"] == [("tiny", "2")]


def test_what_is_not_there_or_not_allowed_is_told(
    store: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("models", {"b/evil.py": b"x", "b/model.safetensors": b"x"})
    for source in ("s3://models/nothing", "s3://nothing/at-all"):
        with pytest.raises(NotFound):
            install(settings, source)
    with pytest.raises(ConfigurationError, match=r"evil\.py is code"):
        install(settings, "s3://models/b")
    away = SourceSettings(s3_endpoint="http://127.0.0.1:9")
    with pytest.raises(Unreachable, match="s3_endpoint"):
        install(settings.model_copy(update={"sources": away}), "s3://models/b")
    with pytest.raises(ConfigurationError, match="names no bucket"):
        install(settings, "s3://UPPER/x")
