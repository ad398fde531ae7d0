"""A schema registry with Confluent's interface, as far as Avro's clients use it, on a free port."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote, urlsplit

NO_SUBJECT = 40401
NO_SCHEMA = 40403


class FakeRegistry:
    """Use it as a context manager. Copies of a schema that are written differently have own ids."""

    def __init__(self) -> None:
        self.down = False
        """Answers `fault` to everything."""
        self.fault = 503
        self.at_once = threading.Event()
        """While it is cleared nothing is answered."""
        self.at_once.set()
        self.asked: list[str] = []
        """What was asked for, as `GET /schemas/ids/1`."""
        self._texts: list[str] = []
        self._subjects: dict[str, list[int]] = {}
        self._lock = threading.Lock()
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer(None)

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                self._answer(json.loads(self.rfile.read(length)))

            def _answer(self, body: Any) -> None:
                status, answer = registry.answer(self.command, urlsplit(self.path).path, body)
                text = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.at_once.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add(self, subject: str, text: str) -> int:
        """Register a schema; its id."""
        with self._lock:
            if text not in self._texts:
                self._texts.append(text)
            found = self._texts.index(text) + 1
            ids = self._subjects.setdefault(subject, [])
            if found not in ids:
                ids.append(found)
            return found

    @property
    def subjects(self) -> set[str]:
        """Every subject that has a schema."""
        return set(self._subjects)

    def answer(self, verb: str, path: str, body: Any) -> tuple[int, Any]:
        """Status and JSON."""
        self.asked.append(f"{verb} {path}")
        self.at_once.wait()
        if self.down:
            return self.fault, {"error_code": self.fault * 100 + 3, "message": "down"}
        match verb, [unquote(part) for part in path.strip("/").split("/")]:
            case "GET", ["schemas", "ids", number]:
                return self._schema(int(number))
            case "POST", ["subjects", subject, "versions"]:
                return 200, {"id": self.add(subject, body["schema"])}
            case "POST", ["subjects", subject]:
                return self._found(subject, body["schema"])
            case "GET", ["subjects", subject, "versions", "latest"]:
                return self._latest(subject)
        return 404, {"error_code": 404, "message": "no such path"}

    def _schema(self, number: int) -> tuple[int, Any]:
        if 0 < number <= len(self._texts):
            return 200, {"schema": self._texts[number - 1]}
        return 404, {"error_code": NO_SCHEMA, "message": "Schema not found"}

    def _found(self, subject: str, text: str) -> tuple[int, Any]:
        ids = self._subjects.get(subject)
        if ids is None:
            return 404, {"error_code": NO_SUBJECT, "message": "Subject not found"}
        number = self._texts.index(text) + 1 if text in self._texts else 0
        if number not in ids:
            return 404, {"error_code": NO_SCHEMA, "message": "Schema not found"}
        return 200, self._version(subject, ids.index(number) + 1)

    def _latest(self, subject: str) -> tuple[int, Any]:
        if subject not in self._subjects:
            return 404, {"error_code": NO_SUBJECT, "message": "Subject not found"}
        return 200, self._version(subject, len(self._subjects[subject]))

    def _version(self, subject: str, version: int) -> dict[str, Any]:
        number = self._subjects[subject][version - 1]
        text = self._texts[number - 1]
        return {"subject": subject, "version": version, "id": number, "schema": text}
