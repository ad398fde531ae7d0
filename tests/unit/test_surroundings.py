"""Programs of ours in odd surroundings."""

from __future__ import annotations

import ast
import asyncio
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from modelmora.surroundings import ENDING, ended_by, interpreter, on_ending
from tests.test_layout import ROOT, shipped

VERSION = (*interpreter("modelmora.cli"), "--version")
SETTLED = """
import os, signal, subprocess, sys
from modelmora.surroundings import settle
settle()
print(all(os.fstat(number) for number in range(3)), sys.stdin.isatty(), file=sys.stderr)
print(signal.pthread_sigmask(signal.SIG_BLOCK, ()), subprocess.run(["false"]).returncode, "\u2713")
"""


def run(
    command: tuple[str, ...], folder: Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", ["random", "typer", "modelmora", "sitecustomize"])
def test_nothing_is_imported_from_the_working_directory(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from here')")
    ended = run(VERSION, tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_no_interpreter_is_started_but_so_that_the_working_directory_is_left_out() -> None:
    starts = [
        (path.relative_to(ROOT).as_posix(), [ast.unparse(element) for element in node.elts])
        for path in shipped()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.List | ast.Tuple)
        and any(ast.unparse(element) == "sys.executable" for element in node.elts)
    ]
    assert len(starts) > 1
    for path, words in starts:
        assert {"'-P'", "'-I'"} & set(words), path


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_replaced(tmp_path: Path, closed: str) -> None:
    told = tmp_path / "told"
    script = f'"$0" -P -c "$1" {closed} 3>&- ; echo $? > {told}'
    run(("sh", "-c", script, sys.executable, SETTLED), tmp_path)
    assert told.read_text() == "0\n"


def test_what_a_parent_blocked_or_ignored_is_as_usual_again(tmp_path: Path) -> None:
    handed = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN);"
        f"signal.pthread_sigmask(signal.SIG_BLOCK, {[int(number) for number in ENDING]});"
        "os.execv(sys.executable, [sys.executable, '-P', '-c', sys.argv[1]])"
    )
    ended = run((sys.executable, "-P", "-c", handed, SETTLED), tmp_path)
    assert ended.stdout == "set() 1 \u2713\n", ended.stderr


def test_text_that_the_encoding_lacks_is_escaped(tmp_path: Path) -> None:
    ended = run(
        (sys.executable, "-P", "-c", SETTLED),
        tmp_path,
        {**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert ended.stdout == "set() 1 \\u2713\n"


def test_more_files_may_be_open_than_a_shell_allows(tmp_path: Path) -> None:
    asks = "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    code = f"from modelmora.surroundings import settle; settle(); {asks}"
    ended = run(("sh", "-c", 'ulimit -Sn 256; "$0" -P -c "$1"', sys.executable, code), tmp_path)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert int(ended.stdout) == (min(hard, 65_536) if hard > 0 else 65_536)


def test_no_core_file_is_left_of_what_we_held(tmp_path: Path) -> None:
    asks = "import resource; print(resource.getrlimit(resource.RLIMIT_CORE)[0])"
    code = f"from modelmora.surroundings import settle; settle(); {asks}"
    ended = run(
        ("sh", "-c", 'ulimit -c "$(ulimit -Hc)"; "$0" -P -c "$1"', sys.executable, code), tmp_path
    )
    assert ended.stdout == "0\n"


def test_a_folder_that_is_gone_is_said_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    ended = run(("sh", "-c", 'rmdir "$PWD"; exec "$@"', "sh", *VERSION), folder)
    assert ended.returncode == 2
    assert ended.stderr == (
        "modelmora: the working directory is gone; change to one that exists and try again\n"
    )


@pytest.mark.parametrize("number", ENDING)
async def test_every_signal_to_end_is_heard(number: signal.Signals) -> None:
    heard: asyncio.Queue[signal.Signals] = asyncio.Queue()
    give_back = on_ending(heard.put_nowait)
    try:
        os.kill(os.getpid(), number)
        assert await asyncio.wait_for(heard.get(), 30) == number
    finally:
        give_back()


async def test_one_that_the_parent_had_us_ignore_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        on_ending(lambda number: pytest.fail(str(number)))()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_exit_codes() -> None:
    assert [ended_by(number) for number in ENDING] == [130, 0, 0, 0]
