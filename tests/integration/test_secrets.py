"""Secrets that nobody may find: in no log, record, file, argument, error or other process."""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import psutil
import pytest

from modelmora.cli import main
from modelmora.kafka.acls import Component, grants
from modelmora.settings import Settings, setting_paths, variable_of
from modelmora.settings.sources import is_secret
from tests.checker.reading import read_records
from tests.guarded import Guarded
from tests.nodes import ECHO, PARTITIONS
from tests.programs import eventually
from tests.topics import produce

FOREIGN = ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY")
"""What others' libraries take from the environment."""
SETTINGS = [variable_of(path) for path, kind in setting_paths() if is_secret(kind)]
READY_S = 120
TRUSTED = ("modelmora.host", "modelmora.node", "modelmora.gateway", "modelmora.cli")
"""Whose environment our secrets come in."""


def forms(secret: str) -> Iterator[bytes]:
    """How it may look where somebody has written it down."""
    yield secret.encode()
    yield base64.b64encode(secret.encode()).rstrip(b"=")
    yield secret.encode().hex().encode()


class Hunt:
    """Looks for the secrets in whatever it is shown."""

    def __init__(self, hidden: Mapping[str, str]) -> None:
        self._hidden = hidden
        self.found: set[tuple[str, str]] = set()
        self.seen = 0

    def look(self, where: str, data: bytes | str | None) -> None:
        """Note each secret that is in this."""
        given = data.encode() if isinstance(data, str) else data or b""
        self.seen += len(given)
        for name, secret in self._hidden.items():
            if any(form in given for form in forms(secret)):
                self.found.add((name, where))


@pytest.fixture
def hidden(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, namespace: str) -> dict[str, str]:
    """Every secret by its variable, and a key of a caller by the name of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODELMORA_NAMESPACE", namespace)
    made = {name: f"canary-{secrets.token_hex(24)}" for name in (*SETTINGS, *FOREIGN)}
    for name, value in made.items():
        monkeypatch.setenv(name, value)
    return made


def test_a_secret_is_found_where_it_is_in_any_form() -> None:
    hunt = Hunt({"A": "canary-1", "B": "canary-2"})
    hunt.look("log", "a canary-1!")
    hunt.look("header", base64.b64encode(b"canary-2"))
    assert hunt.found == {("A", "log"), ("B", "header")}


def test_secrets_are_found_nowhere(
    guarded: Guarded,
    hidden: dict[str, str],
    namespace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in _allowed(guarded, namespace, hidden).items():
        monkeypatch.setenv(f"MODELMORA_{name}", str(value))
    hunt = Hunt(hidden)

    assert main(["keys", "create", "alice"]) == 0
    key = capsys.readouterr().out.strip().splitlines()[-1]
    assert key.startswith("mm_")
    hidden["key"] = key.rpartition("_")[2]
    monkeypatch.setenv("MODELMORA_ACCESS__KEY", key)
    del hidden["MODELMORA_ACCESS__KEY"]

    log = tmp_path / "serve.log"
    with log.open("wb") as output:
        serve = subprocess.Popen(
            [sys.executable, "-m", "modelmora.cli", "serve"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ,
        )
    try:
        run = tmp_path / ".modelmora" / "run.json"
        eventually(lambda: run.exists() or serve.poll() is not None, "ready", READY_S)
        assert serve.poll() is None, log.read_text()
        told = json.loads(run.read_text())
        _use(hunt, told, key, guarded, namespace)
        _commands(hunt, monkeypatch, capsys)
        _processes(hunt, serve.pid)
    finally:
        serve.terminate()
        assert serve.wait(60) == 0, log.read_text()
    for path in tmp_path.rglob("*"):
        if path.is_file() and not path.is_symlink():
            hunt.look(str(path.relative_to(tmp_path)), path.read_bytes())
    topics = [name for name in guarded.admin.list_topics(timeout=30).topics if namespace in name]
    for record in read_records(guarded.inside, topics):
        for part in (record.value, record.key, repr(record.headers)):
            hunt.look(str(record.place), part)
    assert hunt.found == set()
    assert hunt.seen > 100_000


def _allowed(guarded: Guarded, namespace: str, hidden: dict[str, str]) -> dict[str, object]:
    """The settings of an instance whose user may do all."""
    user = f"{namespace}-all"
    guarded.know(user, password=hidden["MODELMORA_KAFKA__SASL_PASSWORD"])
    rights = Settings(namespace=namespace)
    for component in Component:
        guarded.grant(user, grants(component, rights))
    return {
        "BOOTSTRAP_SERVERS": guarded.sasl,
        "KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "KAFKA__SASL_USERNAME": user,
        "ACCESS__CALLERS": "keys",
        "TESTING": "true",
        "MODELS": ECHO,
        "TOPICS__PARTITIONS": PARTITIONS,
        "HTTP_PORT": 0,
        "GRPC_PORT": 0,
        "NODE_HTTP_PORT": 0,
        "LOG__LEVEL": "debug",
    }


def _use(hunt: Hunt, told: dict[str, str], key: str, guarded: Guarded, namespace: str) -> None:
    """Calls that succeed, that are refused, and that end a child."""
    produce(guarded.inside, f"{namespace}.requests.normal", b"no request", b"{broken")
    bearer = {"authorization": f"Bearer {key}"}
    wrong = {"authorization": f"Bearer {key}x"}
    with httpx.Client(base_url=told["http"], timeout=60) as rest:
        assert rest.post("/infer/echo", json={"inputs": ["a"]}, headers=bearer).status_code == 200
        assert rest.post("/infer/echo", json={"inputs": ["a"]}, headers=wrong).status_code == 401
        for path in ("/infer/crash", "/infer/nobody", "/models", "/infer/echo?key=1"):
            hunt.look(path, rest.post(path, json={"inputs": ["a"]}, headers=bearer).text)
        for path in ("/health", "/metrics", "/openapi.json", "/status", "/models", "/"):
            hunt.look(path, rest.get(path, headers=bearer).text)
            hunt.look(path, rest.get(path, headers=wrong).text)
    for path in ("/health", "/health/models", "/metrics"):
        hunt.look(f"node{path}", httpx.get(told["node_http"] + path, timeout=60).text)


def _commands(
    hunt: Hunt, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What verbs print, with tracebacks where they fail."""
    for words in (
        ("config", "show"),
        ("config", "show", "--json"),
        ("config", "check"),
        ("doctor",),
        ("status",),
        ("ps", "--all"),
        ("keys", "list"),
        ("topics", "acls"),
        ("dlq", "list"),
        ("events",),
    ):
        main([*words])
        hunt.look(" ".join(words), "".join(capsys.readouterr()))
    with monkeypatch.context() as patch:
        for name, value in (
            ("KAFKA__SASL_USERNAME", "nobody"),
            ("BOOTSTRAP_SERVERS", "127.0.0.1:1"),
            ("KAFKA__SECURITY_PROTOCOL", "SASL_SSL"),
            ("KAFKA__SASL_MECHANISM", "none"),
            ("ACCESS__CALLERS", "some"),
        ):
            patch.setenv(f"MODELMORA_{name}", value)
            patch.setenv("MODELMORA_TIMING__BROKER_S", "2")
            for words in (("topics", "list"), ("infer", "echo", "a"), ("config", "check")):
                main([*words])
                hunt.look(f"{name} {' '.join(words)}", "".join(capsys.readouterr()))


def _processes(hunt: Hunt, pid: int) -> None:
    """The arguments of all, the environment of those that need none, and no core of any."""
    ours = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    others = 0
    for process in ours:
        line = " ".join(process.cmdline())
        hunt.look(f"arguments of {line[:80]}", line)
        assert process.rlimit(psutil.RLIMIT_CORE)[0] == 0, line
        if not any(name in line for name in TRUSTED):
            others += 1
            environment = Path(f"/proc/{process.pid}/environ").read_bytes()
            hunt.look(f"environment of {line[:80]}", environment)
    assert len(ours) - others >= 3  # the supervisor, node and gateway
    assert others >= 2  # what models run in
