"""Broken definitions and sources that only their parsers' own bugs betray: told, never raised."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelmora.errors import NotFound
from modelmora.registry.definitions import served_or_faults
from modelmora.registry.sources import Sources
from modelmora.settings import Settings


@pytest.mark.no_cover
@pytest.mark.parametrize(
    "text", ["name: 2020-99-99\n", "[" * 5000, "name: !!timestamp x\n"], ids=["date", "deep", "tag"]
)
def test_what_the_parser_stumbles_over_is_a_fault(tmp_path: Path, text: str) -> None:
    file = tmp_path / "models" / "one" / "1.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    (_, broken) = served_or_faults(Settings(data_dir=tmp_path)).definitions
    assert str(file) in (broken.fault or "")
    assert "not valid YAML" in (broken.fault or "")


@pytest.mark.parametrize("source", ["x" * 5000, "~nobody-of-this-name/model", "a\0b"])
def test_a_path_that_cannot_be_is_not_found(source: str) -> None:
    with pytest.raises(NotFound):
        Sources(Settings()).folder(source, None)
