"""Running the command inside the test, and small servers for it to talk to."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from modelmora.cli import main
from modelmora.host.runfile import RunInfo, write_run


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run of the command left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its stdout as one JSON document."""
        return json.loads(self.out)


class Cli:
    """Runs the command in an empty folder with none of our variables set."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Ran:
        self._capsys.readouterr()
        code = main(arguments)
        out, err = self._capsys.readouterr()
        return Ran(code, out, err)


@dataclass(slots=True)
class Door:
    """An HTTP server that answers by path and keeps what it was asked."""

    answers: Mapping[str, tuple[int, Any]]
    url: str = ""
    asked: list[tuple[str, Any]] = field(default_factory=list)
    headers: list[Message] = field(default_factory=list)
    """Those of each."""


@contextmanager
def door(answers: Mapping[str, tuple[int, Any]]) -> Iterator[Door]:
    """Serve these answers (status, JSON) on a free port."""
    told = Door(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            told.headers.append(self.headers)
            told.asked.append((self.path, json.loads(self.rfile.read(length) or b"null")))
            status, body = told.answers.get(self.path, (404, {"title": "Not Found"}))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        do_POST = do_DELETE = do_GET  # noqa: N815  the server asks for these names

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def pretend_running(data_dir: Path, **facts: Any) -> None:
    """A run.json of an instance whose process is this test's own."""
    info: dict[str, Any] = {
        "bootstrap_servers": "127.0.0.1:1",
        "http": None,
        "grpc": None,
        "node_http": None,
        "pid": os.getpid(),
    }
    data_dir.mkdir(parents=True, exist_ok=True)
    write_run(data_dir, RunInfo(**info | facts))
