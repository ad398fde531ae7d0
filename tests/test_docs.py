"""The documentation agrees with the code: settings, codes, topics, rooms, navigation."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from modelmora.cli.app import main
from modelmora.errors import Code
from modelmora.gateway.outcomes import answer_of
from modelmora.kafka.topics import HOUR, TABLE, Topic
from modelmora.messages import outcome_status
from modelmora.settings import Settings
from modelmora.web.problems import DoorCode

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def rows(page: str, *columns: str) -> Iterator[dict[str, str]]:
    """The rows of every table on a page whose header starts with these columns."""
    header: tuple[str, ...] | None = None
    for line in (DOCS / page).read_text().splitlines():
        cells = tuple(cell.strip() for cell in line.strip("|").split("|"))
        if not line.startswith("|"):
            header = None
        elif header is None:
            header = cells
        elif not set(line) <= set("|- ") and header[: len(columns)] == columns:
            yield dict(zip(header, cells, strict=True))


def code_of(cell: str) -> str:
    """What stands between backticks."""
    assert cell.startswith("`"), cell
    assert cell.endswith("`"), cell
    return cell.strip("`")


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, default) of every setting."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from leaves(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field.default


def shown(default: object) -> str:
    """A default as the page writes it."""
    if default is None:
        return "none"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return "`[]`" if default == () else f"`{default}`"


def test_every_setting_and_its_default() -> None:
    told = {
        code_of(row["setting"]): row["default"]
        for row in rows("reference/settings.md", "setting", "default")
    }
    assert told == {name: shown(default) for name, default in leaves(Settings)}


def test_every_error_code_and_its_status() -> None:
    told = {
        code_of(row["code"]): row["status"] for row in rows("reference/errors.md", "code", "status")
    }
    assert told == {code.value: outcome_status(code).value for code in Code}
    text = (DOCS / "reference/errors.md").read_text()
    for door in DoorCode:
        assert f"`{door.value}` ({answer_of(door).http.value})" in text


def test_every_topic() -> None:
    kept = {HOUR: "1 h", 24 * HOUR: "24 h", 7 * 24 * HOUR: "7 days", None: "compacted"}
    told = {
        code_of(row["topic"]): (row["key"], row["value"], row["kept"], row["content"])
        for row in rows("reference/topics.md", "topic", "key")
    }
    assert told == {
        topic.value: (
            spec.key,
            spec.value,
            kept[spec.retention_ms],
            "yes" if spec.content else "no",
        )
        for topic, spec in TABLE.items()
    }
    assert set(TABLE) == set(Topic)


def test_http_statuses() -> None:
    told: dict[str, tuple[str, str]] = {}
    for row in rows("reference/rest.md", "code", "HTTP", "gRPC"):
        for code in re.findall(r"`(\w+)`", row["code"]):
            told[code] = (row["HTTP"], code_of(row["gRPC"]))
    other = ("500", "INTERNAL")
    actual = {
        code.value: (str(answer_of(code).http.value), answer_of(code).grpc.name) for code in Code
    }
    assert told == {code: answer for code, answer in actual.items() if answer != other}


def rooms_of_contract() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (contract,) = [
        contract
        for contract in project["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    ]
    return {room for line in contract["layers"] for room in re.findall(r"\w+", line)}


def test_each_room_has_its_sentence() -> None:
    told = [code_of(row["room"]) for row in rows("architecture.md", "room", "what it is")]
    there = {
        path.stem
        for path in (ROOT / "modelmora").iterdir()
        if (path.is_dir() and (path / "__init__.py").is_file()) or path.suffix == ".py"
    } - {"__init__"}
    assert set(told) == there
    assert len(told) == len(set(told))
    assert rooms_of_contract() == there


def test_the_rooms_are_drawn_as_the_contract_has_them() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    assert "```\n" + "\n".join(layers) + "\n```" in (DOCS / "architecture.md").read_text()


def test_every_file_on_the_path_exists() -> None:
    text = (DOCS / "architecture.md").read_text()
    path = re.findall(r"^  ((?:agents|modelmora)/\S+\.py) ", text, re.MULTILINE)
    assert len(path) == 6
    assert [file for file in path if not (ROOT / file).is_file()] == []


def test_every_invariant_is_listed() -> None:
    found = re.findall(r"^- \*\*I(\d+)\*\*", (DOCS / "architecture.md").read_text(), re.MULTILINE)
    assert found == [str(number) for number in range(1, 12)]


def pages(nav: object) -> Iterator[str]:
    match nav:
        case str():
            yield nav
        case list():
            for item in nav:
                yield from pages(item)
        case Mapping():
            for item in nav.values():
                yield from pages(item)


def test_every_page_is_in_the_navigation() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    assert sorted(pages(nav)) == sorted(str(p.relative_to(DOCS)) for p in DOCS.rglob("*.md"))


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_of_the_top_level_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", (ROOT / page).read_text())
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (ROOT / link).exists()] == []


def commands() -> Iterator[str]:
    """Every call of the command line in README and docs."""
    for page in (ROOT / "README.md", *DOCS.rglob("*.md")):
        for block in re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL):
            for line in block.splitlines():
                if match := re.match(r"(?:\.venv/bin/)?modelmora (.*)", line):
                    yield match[1]


def test_there_are_commands() -> None:
    assert len(set(commands())) > 10


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_every_command_is_understood(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    # Asking for help parses the whole line first, so an unknown verb or option still fails.
    arguments = [a for a in shlex.split(command, comments=True) if a != "--help"]
    assert main([*arguments, "--help"]) == 0, capsys.readouterr().err


def test_an_unknown_option_is_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--rle", "node", "--help"]) == 2
    assert "--rle" in capsys.readouterr().err
