"""Requests that come as plain JSON, and their outcomes as JSON: no schema at hand is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from pydantic import Field, StrictStr, ValidationError

from modelmora.errors import Code, RequestError, Undecodable
from modelmora.messages import InferenceRequest, InferenceResult, ResultHead, Source
from modelmora.messages.headers import CONTENT_TYPE, REQUEST_ID
from modelmora.text import printable
from modelmora.wire.codec import decode_result, encode_request
from modelmora.wire.forms import RequestForm, content_form, timings_form
from modelmora.wire.ids import id_of_place
from modelmora.wire.schemas import MAGIC
from modelmora.wire.strict import fault, parse
from modelmora.wire.tensors import BadTensor

Headers = Sequence[tuple[str, bytes | None]]
JSON = b"application/json"
MOST_ID = 128


class JsonRequest(RequestForm):
    """A request in the value of a record; its lane is its topic."""

    request_id: StrictStr | None = Field(None, min_length=1, max_length=MOST_ID)
    model: StrictStr | None = None
    task: StrictStr | None = None


def is_json(value: bytes | None, headers: Headers) -> bool:
    """Whether a record's value is meant as JSON: it begins with `{`, or its header says so.

    What begins as our Avro does is that, whatever its header says; nearly all records do.
    """
    if not value or value.startswith(MAGIC):
        return False
    if value.startswith(b"{"):
        return True
    media = next((told for name, told in headers if name.lower() == CONTENT_TYPE), None)
    return bool(media) and (media or b"").partition(b";")[0].strip().lower() == JSON


def encode_json(
    value: bytes, key: bytes | None, headers: Headers, source: Source, timestamp: int
) -> bytes:
    """A request in JSON as the Avro that it means.

    It was first appended at `source` and `timestamp` (Unix ms). Without a model it asks for the
    one that its key names. Raises Undecodable, with the id of `json_request_id`.
    """
    found: Any = None
    try:
        found = parse(value)
        request_id = _id_of(found, headers, source, timestamp)
        return encode_request(
            request_of(found, (key or b"").decode("utf-8", "replace"), request_id)
        )
    except RequestError as error:
        code, message = error.code, error.message
    except ValueError:
        code, message = Code.INVALID_INPUT, "a value does not fit into a request"
    raise Undecodable(code, message, request_id=_id_of(found, headers, source, timestamp))


def request_of(found: Any, model: str, request_id: str) -> InferenceRequest:
    """The request that parsed JSON asks, of `model` and by that id where it names none itself.

    Raises RequestError.
    """
    try:
        form = JsonRequest.model_validate(found)
    except ValidationError as error:
        raise RequestError(Code.INVALID_INPUT, fault(error, JsonRequest)) from None
    return InferenceRequest(
        form.request_id or request_id,
        form.model or ("" if form.task else model),
        form.contents(),
        task=form.task,
        parameters=form.settings(),
        timeout_ms=form.timeout_ms,
        progress=form.progress,
    )


def json_request_id(value: bytes, headers: Headers, source: Source, timestamp: int) -> str:
    """The id that a request in JSON brings, or its header, else one that is made of its place."""
    try:
        found = parse(value)
    except RequestError:
        found = None
    return _id_of(found, headers, source, timestamp)


def _id_of(found: Any, headers: Headers, source: Source, timestamp: int) -> str:
    told = found.get("request_id") if isinstance(found, dict) else None
    header = next((given for name, given in headers if name == REQUEST_ID), None)
    for each in (told, (header or b"").decode("utf-8", "replace")):
        if isinstance(each, str) and 0 < len(each) <= MOST_ID:
            return each
    return id_of_place(source.topic, source.partition, source.offset, timestamp)


def write_json_result(head: ResultHead, value: bytes, most_bytes: int, topic: str) -> bytes:
    """The outcome of that head, whose Avro is `value`, as JSON.

    Where it would be longer than `most_bytes`, or JSON has no form for its outputs, `outputs` is
    null and `note` says where it stands whole, which is `topic`.
    """
    told = _told(head)
    try:
        whole = orjson.dumps({**told, "outputs": _outputs(decode_result(value))})
    except (BadTensor, Undecodable, orjson.JSONEncodeError):
        return orjson.dumps({**told, "note": f"its outputs have no form as JSON; see {topic}"})
    if len(whole) <= most_bytes:
        return whole
    return orjson.dumps({**told, "note": f"its outputs are too long as JSON; see {topic}"})


def outcome_form(result: InferenceResult) -> dict[str, Any]:
    """An outcome as `results.json` has it; raises BadTensor for outputs that are broken."""
    return {**_told(result), "outputs": _outputs(result)}


def _outputs(result: InferenceResult) -> list[Any]:
    return [content_form(content) for content in result.outputs]


def _told(head: ResultHead | InferenceResult) -> dict[str, Any]:
    error, source = head.error, head.source
    return {
        "request_id": head.request_id,
        "status": head.status,
        "model": head.model,
        "version": head.version,
        "outputs": None,
        "settings": dict(head.settings),
        "error": error
        and {
            "code": error.code,
            "message": printable(error.message),
            "retry_after_ms": error.retry_after_ms,
        },
        "timings": timings_form(head.timings),
        "source": {
            "topic": source.topic,
            "partition": source.partition,
            "offset": source.offset,
        },
        "attempt": head.attempt,
        "run": head.run,
    }
