"""The documentation agrees with the code: settings, codes, topics, rooms, navigation."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from modelmora.cli.app import main
from modelmora.errors import Code
from modelmora.gateway.outcomes import answer_of
from modelmora.kafka.topics import DAY, HOUR, TABLE, Topic
from modelmora.messages import State as ModelState
from modelmora.messages import outcome_status
from modelmora.messages.events import FACTS
from modelmora.settings import ModelConfig, Settings
from modelmora.web.problems import DoorCode
from modelmora.wire.schemas import NAMES, header_of, read_schema

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


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, tuple[str, str]]]:
    """(dotted name, default and meaning as the page writes them) of every setting."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from leaves(field.annotation, f"{prefix}{name}.")
        else:
            default = "must be given" if field.is_required() else shown(field.default)
            yield f"{prefix}{name}", (default, field.description or "")


def shown(default: object) -> str:
    """A default as the page writes it."""
    if default is None:
        return "none"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return "`[]`" if default == () else f"`{default}`"


def test_every_setting_its_default_and_meaning() -> None:
    told = {
        code_of(row["setting"]): (row["default"], row["meaning"])
        for row in rows("reference/settings.md", "setting", "default")
    }
    assert told == dict(leaves(Settings))


def test_every_field_of_a_model() -> None:
    told = {
        code_of(row["field"]): (row["default"], row["meaning"])
        for row in rows("reference/models.md", "field", "default")
    }
    assert told == dict(leaves(ModelConfig))


def test_every_error_code_and_its_status() -> None:
    told = {
        code_of(row["code"]): row["status"] for row in rows("reference/errors.md", "code", "status")
    }
    assert told == {code.value: outcome_status(code).value for code in Code}
    text = (DOCS / "reference/errors.md").read_text()
    for door in DoorCode:
        assert f"`{door.value}` ({answer_of(door).http.value})" in text


def test_every_topic() -> None:
    kept = {
        HOUR: "1 h",
        24 * HOUR: "24 h",
        7 * DAY: "7 days",
        365 * DAY: "365 days",
        None: "compacted",
    }
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


def test_every_event_and_its_facts() -> None:
    told = {
        code_of(row["type"]): tuple(re.findall(r"`(\w+)`", row["facts"]))
        for row in rows("howto/events.md", "type", "when")
    }
    assert told == {f"modelmora.{kind.value}": facts for kind, facts in FACTS.items()}


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
    path = re.findall(r"^\| `((?:agents|modelmora)/\S+\.py)` ", text, re.MULTILINE)
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


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    """The pages that the build adds, by path below docs/."""
    spec = importlib.util.spec_from_file_location("pages", ROOT / ".ci" / "pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: dict[str, str] = module.pages()
    return made


def test_every_page_is_in_the_navigation(generated: dict[str, str]) -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    written = [str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")]
    written += [page for page in generated if page.endswith(".md")]
    assert sorted(pages(nav)) == sorted(written)


def test_the_command_line_is_told_whole(generated: dict[str, str]) -> None:
    page = generated["reference/cli.md"]
    verbs = re.findall(r"^### (.*)$", page, re.MULTILINE)
    assert {"serve", "infer", "dlq replay", "config show"} <= set(verbs)
    assert "`--timeout SECONDS`" in page
    assert "`--priority critical|high|normal|low`" in page
    common = page.partition("## Common options")[2]
    assert "`--data-dir FOLDER`" in common
    assert "`--data-dir FOLDER`" not in page.replace(common, "")


def test_every_field_is_told(generated: dict[str, str]) -> None:
    page = generated["reference/schemas.md"]
    for name in NAMES:
        _, _, section = page.partition(f"## {read_schema(name)['name']}\n")
        told = re.findall(
            r"^\| `(\w+)` \|",
            re.split(r"^##", section, maxsplit=1, flags=re.MULTILINE)[0],
            re.MULTILINE,
        )
        assert told == [field["name"] for field in read_schema(name)["fields"]]
    # Records inside a record are told once, with a link from each field that has them.
    headings = re.findall(r"^#{2,3} (\w+)$", page, re.MULTILINE)
    assert len(headings) == len(set(headings))
    assert {link.lower() for link in re.findall(r"\(#(\w+)\)", page)} <= {
        h.lower() for h in headings
    }


def literals() -> str:
    """All text in the code that a message can be made of, a line each."""
    sources = [*(ROOT / "modelmora").rglob("*.py"), *(ROOT / "agents").rglob("*.py")]
    trees = [ast.parse(source.read_text()) for source in sources]
    return "\n".join(
        node.value
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def test_every_message_that_is_explained_can_be_met() -> None:
    code = literals() + (ROOT / ".ci" / "setup").read_text()
    told = [
        code_of(row["message"])
        for row in rows("howto/troubleshooting.md", "message", "cause", "cure")
    ]
    assert len(told) > 40
    parts = [part.strip(" ;:,()`") for message in told for part in message.split("…")]
    assert [part for part in parts if part not in code] == []


def test_headers_of_schemas_are_the_true_ones() -> None:
    """Where a page or program shows the ten bytes, they are those of a schema of today."""
    headers = {header_of(read_schema(name)).hex() for name in NAMES}
    told = re.compile(r"c301[0-9a-f]{16}|(?:\\x[0-9a-f]{2}){10}")
    shown = [*DOCS.rglob("*.md"), ROOT / "tests/callers/node/ask.js"]
    found = {match[0] for page in shown for match in told.finditer(page.read_text())}
    assert found
    assert {text.replace("\\x", "") for text in found} <= headers


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_of_the_top_level_lead_somewhere(page: str) -> None:
    """The build of the documentation looks at those below docs/ itself."""
    text = (ROOT / page).read_text()
    links = re.findall(r"\]\(([^)#]+)#?([^)]*)\)", text)
    links += [(source, "") for source in re.findall(r'src="([^"]+)"', text)]
    local = [(ROOT / link, anchor) for link, anchor in links if "://" not in link]
    assert [link for link, _ in local if not link.exists()] == []
    assert [anchor for link, anchor in local if anchor and anchor not in anchors(link)] == []


CALL = re.compile(r"(?:\S*/)?modelmora ((?:[a-z]|-).*)")


def commands() -> Iterator[str]:
    """Every call of the command line on a page: lines of blocks, and words between backticks."""
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")):
        blocks = re.split(r"^ *```(\w*).*$", page.read_text(), flags=re.MULTILINE)
        # Text, language, block, "", text, ... since a closing fence is one without a language.
        for text, language in zip(blocks[::2], ["-", *blocks[1::2]], strict=True):
            lines = text.splitlines() if language == "console" else []
            words = re.findall(r"`([^`]+)`", text) if language in ("", "-") else []
            for line in (*map(textwrap.dedent, lines), *words):
                if match := CALL.fullmatch(line):
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


def test_the_states_of_a_model_are_drawn() -> None:
    drawn = re.findall(
        r"<rect[^>]*/><text[^>]*>(\w+)</text>", (DOCS / "assets/states.svg").read_text()
    )
    assert sorted(drawn) == sorted(state.value for state in ModelState)
