"""A hub of models on this machine: what the real client asks of the real one, and its bad days."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

LARGE = 2000
"""Files of so many bytes are kept apart (LFS) and have a sha256."""


@dataclass
class HubServer:
    """Its models by `org/name`, each the files of its one branch; `log` is what was asked."""

    url: str = ""
    models: dict[str, dict[str, bytes]] = field(default_factory=dict)
    licences: dict[str, str] = field(default_factory=dict)
    log: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path and range of each request."""
    gated: set[str] = field(default_factory=set)
    lies: dict[str, bytes] = field(default_factory=dict)
    """What comes in place of a file's content."""
    stall: tuple[str, int] = ("", 0)
    """The file that stops after so many bytes until `go_on`."""
    stalled: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    def commit(self, repository: str) -> str:
        """The commit that the branch stands for: it follows from the content."""
        whole = hashlib.sha1(usedforsecurity=False)
        for name, content in sorted(self.models[repository].items()):
            whole.update(name.encode() + b"\0" + content)
        return whole.hexdigest()

    def fetched(self, name: str) -> list[str]:
        """The ranges in which a file was asked for."""
        return [span for method, path, span in self.log if method == "GET" and path.endswith(name)]


def git_sum(content: bytes) -> str:
    head = b"blob %d\0" % len(content)
    return hashlib.sha1(head + content, usedforsecurity=False).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    """What the server of a hub answers."""

    hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        return

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.log.append((self.command, path, self.headers.get("Range", "")))
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            self._info("/".join(parts[2:4]), parts[5] if len(parts) > 5 else "main")
        elif len(parts) > 4 and parts[2] == "resolve":
            self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            self._answer(404, {}, b"")

    def _known(self, repository: str, revision: str) -> bool:
        if repository in self.hub.gated:
            self._answer(403, {"X-Error-Code": "GatedRepo"}, b"{}")
        elif repository not in self.hub.models:
            self._answer(404, {"X-Error-Code": "RepoNotFound"}, b"{}")
        elif revision not in ("main", self.hub.commit(repository)):
            self._answer(404, {"X-Error-Code": "RevisionNotFound"}, b"{}")
        else:
            return True
        return False

    def _info(self, repository: str, revision: str) -> None:
        if not self._known(repository, revision):
            return
        siblings = []
        for name, content in self.hub.models[repository].items():
            each = {"rfilename": name, "size": len(content), "blobId": git_sum(content)}
            if len(content) >= LARGE:
                sum_ = hashlib.sha256(content).hexdigest()
                each["lfs"] = {"sha256": sum_, "size": len(content), "pointerSize": 130}
            siblings.append(each)
        told = {
            "id": repository,
            "sha": self.hub.commit(repository),
            "siblings": siblings,
            "cardData": {"license": self.hub.licences.get(repository)},
        }
        self._answer(200, {"Content-Type": "application/json"}, json.dumps(told).encode())

    def _file(self, repository: str, revision: str, name: str) -> None:
        if not self._known(repository, revision):
            return
        content = self.hub.models[repository].get(name)
        if content is None:
            self._answer(404, {"X-Error-Code": "EntryNotFound"}, b"")
            return
        large = len(content) >= LARGE
        etag = hashlib.sha256(content).hexdigest() if large else git_sum(content)
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": self.hub.commit(repository)}
        if large:
            headers |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(content))}
        body = self.hub.lies.get(name, content)
        span = self.headers.get("Range", "")
        start = int(span.removeprefix("bytes=").partition("-")[0]) if span else 0
        if span:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        self._answer(206 if span else 200, headers, body[start:], name)

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes, name: str = "") -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        stopped, after = self.hub.stall
        if name and name == stopped and not self.hub.go_on.is_set():
            self.wfile.write(body[:after])
            self.wfile.flush()
            self.hub.stalled.set()
            self.hub.go_on.wait(60)
            body = body[after:]
        try:
            self.wfile.write(body)
        except OSError:
            self.close_connection = True


@contextmanager
def hub_server(models: Mapping[str, dict[str, bytes]]) -> Iterator[HubServer]:
    """A running one."""
    hub = HubServer(models=dict(models))
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield hub
    finally:
        hub.go_on.set()
        server.shutdown()
        server.server_close()
