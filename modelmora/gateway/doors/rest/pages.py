"""The gateway's own pages: `/`, and `/docs`, where each operation can be read and tried."""

from __future__ import annotations

import json
import re
from html import escape
from importlib import resources
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse

from modelmora.gateway.hall import Hall, state_of
from modelmora.messages import RegistryRecord
from modelmora.web.look import code, page, status_line, table

DEFAULT_MODEL = "all-minilm-l6-v2"
_HOST = re.compile(r"[\w.\-]+(:\d+)?|\[[0-9a-fA-F:.]+\](:\d+)?")
_LINKS = {"API": "/docs", "OpenAPI": "/openapi.json", "Health": "/health", "Metrics": "/metrics"}
_TRY = resources.files("modelmora.gateway.doors.rest").joinpath("docs.js").read_text()


def add_pages(app: FastAPI, hall: Hall) -> None:
    """Serve `/` and `/docs`."""

    @app.get("/", include_in_schema=False)
    async def landing(request: Request) -> HTMLResponse:
        return page("ModelMora gateway", _landing(hall, _base(request)), _LINKS)

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        body = _docs(app.openapi(), _model(hall), _base(request))
        return page("ModelMora API", body, _LINKS, _TRY)


def _base(request: Request) -> str:
    """Where the caller reached us, as far as it can be pasted into a shell unread."""
    host = request.headers.get("host", "")
    return f"{request.url.scheme}://{host if _HOST.fullmatch(host) else 'localhost:8080'}"


def _model(hall: Hall) -> str:
    """The model of the examples: one that is there, if it can be."""
    names = [model.name for model in hall.models()]
    return DEFAULT_MODEL if DEFAULT_MODEL in names or not names else names[0]


JSON, FORM = "application/json", "multipart/form-data"
_NO_BODY: dict[str, Any] = {"content": {JSON: {}}}


def _curl(base: str, path: str, body: Any = None, method: str = "post", media: str = JSON) -> str:
    parts = [f"curl {base}{path}"]
    if method != ("get" if body is None else "post"):
        parts.append(f"-X {method.upper()}")
    if media == FORM:
        parts += [f"-F '{name}={value}'" for name, value in body.items()]
    elif body is not None:
        parts += ["-H 'content-type: application/json'", f"-d '{json.dumps(body)}'"]
    return " \\\n  ".join(parts)


def _landing(hall: Hall, base: str) -> str:
    faults = list(hall.faults())
    models = [
        (code(model.name), escape(model.version), escape(model.task), _state(hall, model))
        for model in hall.models()
    ]
    there = (
        table(("name", "version", "task", "state"), models)
        if models
        else '<p class="soft">No model is there; <code>modelmora install</code> brings one.</p>'
    )
    example = _curl(base, f"/infer/{_model(hall)}", {"inputs": ["Hello, Kafka"]})
    return (
        "<h1>Inference over Kafka, with an answer to wait for</h1>"
        "<p>This gateway puts each request on its topic, and answers with the one outcome.</p>"
        f"{status_line('not ready' if faults else 'ready', faults)}"
        f"<h2>Models</h2>{there}"
        f'<h2>Try it</h2><pre>{escape(example)}</pre><p><a href="/docs">The whole interface</a> '
        "can be read and tried in the browser. gRPC has the same, on a port of its own.</p>"
    )


def _state(hall: Hall, model: RegistryRecord) -> str:
    state = state_of(hall, model)
    told = ": ".join(word for word in state.values() if word)
    return f'<span class="bad">{escape(told)}</span>' if state["reason"] else told


def _docs(schema: dict[str, Any], model: str, base: str) -> str:
    parts = [
        "<h1>API</h1>",
        f"<p>{_prose(schema['info']['description'])}</p>",
    ]
    described = {tag["name"]: tag["description"] for tag in schema["tags"]}
    for tag, words in described.items():
        parts.append(f"<h2>{escape(words)}</h2>")
        parts += [
            _operation(schema, method, path, operation, model, base)
            for path, operations in schema["paths"].items()
            for method, operation in operations.items()
            if tag in operation["tags"]
        ]
    return "".join(parts)


def _operation(
    schema: dict[str, Any],
    method: str,
    path: str,
    operation: dict[str, Any],
    model: str,
    base: str,
) -> str:
    where = path.replace("{model_name}", model).replace("{name}", model).replace("{version}", "1")
    where = (
        where.replace("{job_id}", "my-job")
        .replace("{which}", "my-job")
        .replace("{requestId}", "REQUEST_ID")
    )
    where = where.replace("{file_id}", "FILE_ID").replace("{batch_id}", "BATCH_ID")
    where = where.replace("{which}", "my-job")
    (media, body), *_ = (operation.get("requestBody") or _NO_BODY)["content"].items()
    example = body.get("example")
    area = ""
    if body:
        text = escape(json.dumps(example, indent=1))
        area = f'<textarea rows="7" spellcheck="false" aria-label="body">{text}</textarea>'
    return (
        f'<section id="{operation["operationId"]}"><h2><span class="verb">{method.upper()}</span>'
        f"{code(path)}</h2><p>{escape(operation['summary'])}.</p>"
        f'<p class="soft">{_prose(operation["description"])}</p>'
        f"{_parameters(operation)}{_fields(schema, body)}"
        f"<h3>Example</h3><pre>{escape(_curl(base, where, example, method, media))}</pre>"
        f"{_form(where, area) if method == 'get' or path.startswith('/infer') else ''}"
        f"<h3>Answers</h3>{_answers(operation)}</section>"
    )


def _form(where: str, area: str) -> str:
    """Where it can be tried; what changes the registry is not tried by a click."""
    return (
        f'<form data-path="{escape(where)}">{area}'
        '<button>Send</button><pre class="answer" aria-live="polite" hidden></pre></form>'
    )


def _parameters(operation: dict[str, Any]) -> str:
    rows = [
        (code(each["name"]) + _aside(each["in"]), _prose(each["description"]))
        for each in operation.get("parameters", ())
    ]
    return f"<h3>Parameters</h3>{table(('name', ''), rows)}" if rows else ""


def _fields(schema: dict[str, Any], body: dict[str, Any]) -> str:
    described = body.get("schema")
    if described is None:
        return ""
    if "$ref" in described:
        described = schema["components"]["schemas"][described["$ref"].rpartition("/")[2]]
    rows = [
        (
            code(field) + _aside("" if field in described.get("required", ()) else "may be absent"),
            _prose(words.get("description", "")),
        )
        for field, words in described["properties"].items()
    ]
    return f"<h3>Body</h3>{table(('field', ''), rows)}"


def _answers(operation: dict[str, Any]) -> str:
    rows = [
        (code(status), _prose(answer["description"]))
        for status, answer in operation["responses"].items()
        if status != "default"
    ]
    return table(("status", ""), rows)


def _aside(words: str) -> str:
    return f'<br><span class="soft">{escape(words)}</span>' if words else ""


def _prose(text: str) -> str:
    """Text whose `code` is marked so, in HTML."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if at % 2 else part for at, part in enumerate(parts))
