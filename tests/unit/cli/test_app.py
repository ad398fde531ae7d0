"""The command as a whole: one line and the right exit code, whatever goes wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from modelmora.cli.app import VERBS, build, commands_of, plain
from modelmora.errors import ModelMoraError
from modelmora.host.instance import Instance
from tests.unit.cli.runs import Cli


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["serv"], 2, "Did you mean 'serve'?; see `modelmora --help`"),
        (["list", "--nope"], 2, "No such option: --nope; see `modelmora list --help`"),
        (["trace"], 2, "Missing argument"),
        (["ps", "--json", "true"], 2, "flags such as --json take no value"),
        (["serve", "--http-port", "x"], 2, "--http-port is x; it must be a whole number; see `mod"),
        (["serve", "--role", "cook"], 2, "'cook' is not one of 'all', 'node', 'gateway'; see `mod"),
        (["serve", "--data-dir", ""], 2, '--data-dir is ""; it must be a path'),
        (["logs", "--last", "-1"], 2, "--last is -1; it must be at least 0; see `modelmora logs"),
        (["ps", "--url", "nonsense"], 2, "--url nonsense must be host:port"),
        (["doctor", "--url", "nonsense"], 2, "--url nonsense must be host:port"),
        (["infer", "m", "a", "--timeout", "x"], 2, "--timeout is x; it must be a number; see `mod"),
        (["infer", "m", "a", "--timeout", "nan"], 2, "--timeout must be more than 0 seconds"),
        (["infer", "m", "a", "--timeout", "1e300"], 2, "--timeout must be more than 0 seconds"),
        (["infer", "m", "a", "b\udcff"], 2, "modelmora: b\\udcff is not UTF-8"),
        (["serve", "--http-port", "70000"], 2, "--http-port is 70000"),
        (["list", "--config", "absent.yaml"], 2, "absent.yaml is no file; `modelmora config init"),
        (["install", "no-such-model"], 3, "there is no folder and no installed package"),
        (["topics", "list"], 4, "no instance runs on .modelmora"),
        (["topics", "list", "--bootstrap-servers", "127.0.0.1:1"], 4, "no broker answers"),
        (["topics", "list", "--bootstrap-servers", "nonsense"], 2, '"nonsense" is not host:port'),
        (["ps"], 4, "no node runs on .modelmora"),
        (["load", "m"], 4, "no instance runs on .modelmora"),
        (["unpin", "m", "--bootstrap-servers", "127.0.0.1:1"], 4, "no broker answers"),
        (["load", "m", "--wait", "nan"], 2, "--wait must be 0 seconds at least"),
        (["unload", "m", "--wait", "-1"], 2, "--wait must be 0 seconds at least"),
        (["infer", "m", "text"], 4, "no gateway runs on .modelmora"),
        (["dlq", "replay"], 2, "name what to replay"),
        (["dlq", "replay", "x", "--all"], 2, "name what to replay"),
    ],
)
def test_bad_use_is_one_line_and_its_exit_code(
    cli: Cli, arguments: list[str], code: int, told: str
) -> None:
    ran = cli(*arguments)
    assert ran.code == code
    assert told in ran.err
    assert ran.err.startswith("modelmora: ")
    assert ran.err.count("\n") == 1
    assert ran.out == ""


def test_malformed_settings_are_one_line(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "modelmora.yaml").write_text("models: [\n")
    ran = cli("list")
    assert (ran.code, ran.out) == (2, "")
    assert "is not valid YAML" in ran.err
    assert ran.err.count("\n") == 1


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def raise_it(*_: object) -> str:
        raise error

    monkeypatch.setattr(Instance, "ask_node", raise_it)


def test_a_fault_of_our_own_is_a_line_too_and_a_traceback_only_for_debugging(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, RuntimeError("first\nsecond"))
    ran = cli("ps")
    assert ran.code == 1
    told = "modelmora: unexpected RuntimeError: first second; MODELMORA_LOG__LEVEL=debug tells more"
    assert ran.err == told + "\n"
    monkeypatch.setenv("MODELMORA_LOG__LEVEL", "debug")
    assert "Traceback" in cli("ps").err


def test_errors_carry_their_exit_code(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, ModelMoraError("the disk is full"))
    ran = cli("ps")
    assert (ran.code, ran.err) == (1, "modelmora: the disk is full\n")


def test_ctrl_c_is_130_and_says_nothing(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, KeyboardInterrupt())
    ran = cli("ps")
    assert (ran.code, ran.out, ran.err) == (130, "", "")


def test_every_verb_has_its_help_and_names_its_options(cli: Cli) -> None:
    for verb in VERBS:
        ran = cli(verb, "--help")
        assert ran.code == 0
        assert all(len(line) <= 80 for line in ran.out.splitlines())
        assert not re.search("<(bool|str|int|float|path|list)", ran.out)
    assert set(VERBS) <= set(cli("--help").out.split())


def test_one_verb_can_be_built_alone() -> None:
    commands = build("list").registered_commands
    assert [command.name for command in commands] == ["list"]


def test_the_version_is_told(cli: Cli) -> None:
    ran = cli("--version")
    assert ran.code == 0
    assert ran.out.count(".") == 2


def test_without_arguments_the_help_is_shown(cli: Cli) -> None:
    ran = cli()
    assert ran.code == 2
    assert "serve" in ran.out + ran.err


def test_it_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "modelmora.cli", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_asks_a_running_instance_imports_neither_kafka_nor_what_serves() -> None:
    script = """
import sys
import modelmora.cli.ask.infer, modelmora.cli.ps
slow = {"aiokafka", "confluent_kafka", "fastavro", "httpx", "structlog", "torch"}
print(*sorted(slow & {*sys.modules}))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_ctrl_c_while_it_is_imported_says_nothing() -> None:
    script = """
import sys, types
class Late(types.ModuleType):
    def __getattr__(self, name):
        raise KeyboardInterrupt
sys.modules["modelmora.cli.app"] = Late("modelmora.cli.app")
from modelmora.cli import main
sys.exit(main())
"""
    command = [sys.executable, "-P", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize("arguments", [["config", "show"], ["install", "--help"]])
def test_a_reader_that_went_away_is_no_noise(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command = [sys.executable, "-m", "modelmora.cli", *arguments]
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


ALONE = {"init", "serve", "broker", "demo", "bench", "config", "traffic invent"}
"""Verbs that begin or start something, look at settings only, or make something up."""


def test_every_verb_that_speaks_to_an_instance_finds_it_by_the_same_options() -> None:
    asked = [
        (" ".join(path), {option for param in command.params for option in param.opts})
        for path, command in commands_of(plain(build()))
        if path and not {path[0], " ".join(path)} & ALONE and not hasattr(command, "commands")
    ]
    assert len(asked) > 12
    common = {"--namespace", "--bootstrap-servers", "--data-dir", "--url", "--config"}
    assert {path: common - options for path, options in asked if common - options} == {}
