"""`modelmora cache` for people and programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelmora.registry.sources import Sources
from modelmora.registry.sources.base import quiet
from modelmora.settings import Settings
from tests.unit.cli.runs import Cli
from tests.unit.registry.test_cache import WHOLE, Store, unchecked


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    Path("modelmora.yaml").write_text("cache_dir: ./cache\n")
    made = Sources(Settings(cache_dir=tmp_path / "cache")).cache
    remote = Store(WHOLE)
    for name in ("a", "b"):
        made.fetch(f"s3://m/{name}", "r1", remote.files(), remote.read, quiet, unchecked)
    return made.root


def test_what_lies_there_is_shown_and_cleaned(cli: Cli, cache: Path) -> None:
    ran = cli("cache", "list")
    assert ran.out.splitlines()[0].split() == [
        "SOURCE",
        "REVISION",
        "SIZE",
        "USED",
        "STATE",
        "MODELS",
    ]
    assert max(map(len, ran.out.splitlines())) <= 80
    assert ran.err == "2 revisions, 204 B altogether\n"
    told = cli("cache", "list", "--json").json
    assert [(each["source"], each["state"]) for each in told] == [
        ("s3://m/a", "unused"),
        ("s3://m/b", "unused"),
    ]
    assert cli("cache", "clean").err == "0 revisions, 0 B freed\n", "it was read just now"
    dry = cli("cache", "clean", "--unused-for", "0", "--dry-run")
    assert dry.err == "2 revisions, 204 B would be freed\n"
    assert [*cache.glob("s3*/r1")] != []
    assert cli("cache", "clean", "--unused-for", "0").err == "2 revisions, 204 B freed\n"
    assert [*cache.glob("s3*/r1")] == []
    assert cli("cache", "list", "--json").json == []


@pytest.mark.parametrize("days", ["-1", "nan", "1e9"])
def test_a_time_that_is_none_is_refused(cli: Cli, days: str) -> None:
    assert cli("cache", "clean", "--unused-for", days).code == 2
