"""Models in other Python environments, and in a program of its own: that of the documentation."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from modelmora.engines import CATALOG
from modelmora.errors import Code
from modelmora.sandbox import Mode
from modelmora.wire import encode_outputs
from modelmora.workers import ExitReason
from tests.integration.worker_rig import Spec, answers, group, load, spec_of, supervised
from tests.tiny_models import make_tiny

PAGE = (Path(__file__).parents[2] / "docs/reference/frames.md").read_text()
EMBEDDING = CATALOG["txt2embed"].engine
ENGINE = """
import sys
from modelmora.testing.engines import Echo

class Told(Echo):
    def load(self, path, options):
        return {"prefix": sys.prefix, "torch": "torch" in sys.modules}
"""


def environment(folder: Path) -> Path:
    """A Python of its own, with an engine that only it has; its packages are those of ours."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    variables = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", vars=variables))
    ours = sysconfig.get_path("purelib")
    # With the lines of its own .pth files, by which a source tree is installed.
    (packages / "ours.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    (packages / "only_there.py").write_text(ENGINE)
    return folder / "bin" / "python"


async def test_a_model_runs_in_the_environment_that_it_names(tmp_path: Path) -> None:
    runtimes = {"other": environment(tmp_path / "venv")}
    spec = Spec(engine="only_there:Told", runtime="other")
    async with supervised(["modelmora.testing.engines"], runtimes=runtimes) as (
        supervisor,
        recorder,
    ):
        await load(supervisor, recorder, 1, spec)
        info = recorder.info[1]
        assert info["prefix"] == str(tmp_path / "venv") != sys.prefix
        assert not info["torch"]
        assert await answers(supervisor, recorder, group(1, 1, [["a"]])) == [encode_outputs(["a"])]
        await load(supervisor, recorder, 2, spec_of("echo"))
        # Enclosed just as one that was forked.
        assert info["sandbox"] == recorder.info[2]["sandbox"] != "off"
        assert (supervisor.fresh_starts, supervisor.forked) == (1, 1)
        supervisor.load(3, Spec(engine="only_there:Told"))
        await recorder.wait("load_failed", 3)


@pytest.mark.faults
async def test_a_transformer_loads_in_a_fresh_and_enclosed_process(tmp_path: Path) -> None:
    path = str(make_tiny(tmp_path / "model"))
    spec = Spec(task="txt2embed", engine=EMBEDDING, path=path, runtime="same")
    async with supervised(runtimes={"same": Path(sys.executable)}) as (supervisor, recorder):
        await load(supervisor, recorder, 1, spec)
        assert recorder.info[1]["sandbox"] != "off"


FAILING: Mapping[str, tuple[Sequence[str] | str, ExitReason, str]] = {
    "a Python that is not there": (
        "{tmp}/none/bin/python",
        ExitReason.NOT_STARTED,
        "No such file or directory (runtime `r`: see `runtimes` in the node's settings)",
    ),
    "a file that is no program": ("{tmp}/text", ExitReason.NOT_STARTED, "Exec format error"),
    "a Python without ModelMora": (
        [sys.executable, "-I", "-S", "-m", "modelmora.workers.child"],
        ExitReason.LOAD_FAILED,
        "its runtime `r` ended with exit code 1 before the model was loaded; what it wrote to ",
    ),
    "a command that ends at once": (
        ["true"],
        ExitReason.LOAD_FAILED,
        "its runtime `r` ended with exit code 0",
    ),
}


@pytest.mark.parametrize(("command", "reason", "told"), FAILING.values(), ids=FAILING.keys())
async def test_a_runtime_that_cannot_begin_is_told(
    command: Sequence[str] | str, reason: ExitReason, told: str, tmp_path: Path
) -> None:
    (tmp_path / "text").write_text("text\n")
    (tmp_path / "text").chmod(0o755)
    one = isinstance(command, str)
    runtime: Any = Path(str(command).format(tmp=tmp_path)) if one else tuple(command)
    async with supervised(runtimes={"r": runtime}) as (supervisor, recorder):
        supervisor.load(1, Spec(runtime="r"))
        await recorder.wait("exited", 1)
        code, message = recorder.refused[1]
        assert code is Code.MODEL_UNAVAILABLE
        assert told in message
        assert "\n" not in message
        (report,) = recorder.reports[1]
        assert (report.reason, report.detail) == (reason, message)


async def test_one_that_dies_or_never_answers_is_no_failed_load() -> None:
    mute, dying = ("sleep", "600"), ("sh", "-c", "kill -9 $$")
    async with supervised(runtimes={"mute": mute, "dying": dying}) as (supervisor, recorder):
        supervisor.load(1, Spec(runtime="mute"))
        supervisor.load(2, Spec(runtime="dying"))
        await recorder.wait("exited", 2)
        supervisor.kill(1, "load_timeout")
        await recorder.wait("exited", 1)
        reports = [recorder.reports[replica][0] for replica in (1, 2)]
        assert [each.reason for each in reports] == [ExitReason.KILLED, ExitReason.CRASHED]
        assert recorder.refused == {}


async def test_the_documented_process_serves(tmp_path: Path) -> None:
    (program,) = re.findall(r'title="shout.py"\n(.*?)```', PAGE, re.DOTALL)
    assert program.count("\n") <= 100
    (tmp_path / "shout.py").write_text(program)
    runtimes = {"shout": (sys.executable, "-I", str(tmp_path / "shout.py"))}
    long = "ä" * 100_000
    parameters: dict[str, Any] = {
        "a": None, "b": True, "c": -5, "d": 0.5, "e": "ö", "f": ("x", "y"),
    }  # fmt: skip
    async with supervised(runtimes=runtimes) as (supervisor, recorder):
        await load(supervisor, recorder, 1, Spec("shout", runtime="shout"))
        assert recorder.info[1] == {"model": "shout"}
        inputs: list[list[Any]] = [["one", "two"], [], [long], [b"bytes"], ["three"]]
        supervisor.run(group(1, 1, inputs, **parameters))
        supervisor.run(group(2, 1, [["next"]]))
        supervisor.cancel(2, 0)
        await recorder.wait("done", 1)
        await recorder.wait("done", 2)
        got = recorder.results[1]
        wanted = [["ONE", "TWO"], [], [long.upper()], None, ["THREE"]]
        for index, outputs in enumerate(wanted):
            told = None if outputs is None else encode_outputs(outputs)
            assert got[index].outputs == told, index
        error = got[3].error
        assert error
        assert error.code is Code.INVALID_INPUT
        assert recorder.results[2][0].outputs == encode_outputs(["NEXT"])
    (report,) = recorder.reports[1]
    assert report.reason is ExitReason.KILLED


@pytest.mark.parametrize("size", ["-1", "1 << 63", "0.5", "'many'"])
async def test_a_lie_about_memory_is_one(size: str) -> None:
    lie = (
        "import json, socket, struct, sys, time; s = socket.socket(fileno=int(sys.argv[-2]));"
        f"body = json.dumps({{'private_bytes': {size}}}).encode();"
        "s.sendall(struct.pack('<IB', len(body), 16) + body); time.sleep(600)"
    )
    runtimes = {"lie": (sys.executable, "-I", "-S", "-c", lie)}
    async with supervised(sandbox=Mode.OFF, runtimes=runtimes) as (supervisor, recorder):
        supervisor.load(1, Spec(runtime="lie"))
        await recorder.wait("exited", 1)
        assert recorder.reports[1][0].reason is ExitReason.LIED
        assert recorder.info == {}
