"""Messages to Avro single-object bytes and back; the only place that knows Avro's own types."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from io import BytesIO
from typing import Any, TypeVar, cast

from fastavro import parse_schema, schemaless_reader, schemaless_writer

from modelmora.errors import Code, ModelMoraError, Undecodable
from modelmora.messages import (
    Content,
    ErrorInfo,
    InferenceRequest,
    InferenceResult,
    Parameter,
    RequestHead,
    ResultHead,
    Source,
    Status,
    Timings,
)
from modelmora.wire.contents import contents_of, plain_contents
from modelmora.wire.schemas import MAGIC, header_of, pinned, read_schema

T = TypeVar("T")
HEADER = 10
# What fastavro raises on bytes that are not a value of the schema (fuzzed, see the tests).
DECODE_FAULTS = (
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    StopIteration,
    TypeError,
    UnicodeDecodeError,
    ValueError,
)
_CODES = frozenset(Code)


def current(name: str) -> tuple[bytes, Any]:
    """The header and schema in which a message of this name is read and, as a rule, written."""
    schema = read_schema(name)
    parsed: Any = parse_schema(copy.deepcopy(schema))
    for field in parsed["fields"]:
        # fastavro hands a default on as it stands, for bytes the text that JSON has in their place.
        if field["type"] == "bytes" and "default" in field:
            field["default"] = field["default"].encode("latin-1")
    return header_of(schema), parsed


def _with_fields(name: str, keep: Callable[[str], bool]) -> Any:
    """The record of that name with only some of its fields."""
    schema = copy.deepcopy(read_schema(name))
    schema["fields"] = [field for field in schema["fields"] if keep(field["name"])]
    return parse_schema(schema)


REQUEST_HEADER, _REQUEST = current("inference_request")
RESULT_HEADER, _RESULT = current("inference_result")
_REQUEST_HEAD = _with_fields("inference_request", lambda field: field != "inputs")
_NOTHING = _with_fields("inference_request", lambda _: False)
_INPUTS = _with_fields("inference_request", lambda field: field == "inputs")
_RESULT_HEAD = _with_fields("inference_result", lambda field: field not in ("outputs", "run"))
_RESULT_TOLD = _with_fields("inference_result", lambda field: field != "outputs")
_RESULT_SOURCE = _with_fields("inference_result", lambda field: field == "source")
_OUTPUTS = _with_fields("inference_result", lambda field: field == "outputs")
_RUN = _with_fields("inference_result", lambda field: field == "run")
NO_OUTPUTS = b"\x00"  # an empty Avro array
_FIRST_RUN = b"\x02"


def write(header: bytes, schema: Any, datum: Any) -> bytes:
    """The header and the value. Raises ValueError for what Avro cannot hold."""
    out = BytesIO()
    out.write(header)
    schemaless_writer(out, schema, datum)
    return out.getvalue()


def _open(name: str, value: bytes | None) -> Any:
    """The writer schema of a value; raises Undecodable where there is none to be trusted."""
    hint = "; send an InferenceRequest" if name == "inference_request" else ""
    if value is None:
        raise Undecodable(Code.NULL_VALUE, f"the record has no value{hint}")
    if not value:
        raise Undecodable(Code.EMPTY_VALUE, f"the record's value is empty{hint}")
    if value[:2] != MAGIC or len(value) < HEADER:
        raise Undecodable(
            Code.UNDECODABLE,
            "the value is in Confluent's wire format, and its schema id is not known here; "
            "see schema_registry.url"
            if value[0] == 0
            else "the value does not start with Avro's single-object header C3 01",
        )
    writer = pinned(name).get(value[:HEADER])
    if writer is None:
        raise Undecodable(
            Code.UNKNOWN_SCHEMA,
            f"no released schema has the fingerprint {value[2:HEADER].hex()}; "
            "use schemas/inference_request.avsc",
        )
    return writer


def read(name: str, value: bytes | None, reader: Any) -> dict[str, Any]:
    """The fields that `reader` has, of a value in any released form; raises Undecodable."""
    writer = _open(name, value)

    def read(stream: BytesIO) -> Any:
        return schemaless_reader(
            stream, writer, reader, return_record_name=True, return_record_name_override=True
        )

    return cast("dict[str, Any]", _whole(cast("bytes", value), read))


def _whole(value: bytes, read: Callable[[BytesIO], T]) -> T:
    """What is read behind the header, which must be all there is; raises Undecodable."""
    stream = BytesIO(value)
    stream.seek(HEADER)
    try:
        found = read(stream)
    except DECODE_FAULTS as error:
        raise Undecodable(
            Code.UNDECODABLE, f"the value is not Avro of its schema ({type(error).__name__})"
        ) from None
    if stream.tell() != len(value):
        raise Undecodable(Code.TRAILING_BYTES, "bytes follow the value; send one value a record")
    return found


def parameters(values: Mapping[str, Any]) -> dict[str, Parameter]:
    """Parameters as they were read."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def plain_parameters(values: Mapping[str, Parameter]) -> dict[str, Any]:
    """Parameters as they are written."""
    for name, value in values.items():
        # fastavro would write it as a double, which is another number.
        if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
            raise ValueError(f"parameter {name} has more than 64 bits")
    # Lists, because fastavro takes a tuple in a union for (branch name, value).
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def encode_request(request: InferenceRequest) -> bytes:
    """The record value of a request. Raises ValueError for a value Avro cannot hold."""
    datum = {
        "request_id": request.request_id,
        "model": request.model,
        "task": request.task,
        "parameters": plain_parameters(request.parameters),
        "timeout_ms": request.timeout_ms,
        "progress": request.progress,
        "inputs": plain_contents(request.inputs),
    }
    return write(REQUEST_HEADER, _REQUEST, datum)


def decode_request(value: bytes | None) -> InferenceRequest:
    """The whole request; raises Undecodable."""
    datum = read("inference_request", value, _REQUEST)
    return InferenceRequest(
        request_id=datum["request_id"],
        model=datum["model"],
        task=datum["task"],
        parameters=parameters(datum["parameters"]),
        timeout_ms=datum["timeout_ms"],
        progress=datum["progress"],
        inputs=contents_of(datum["inputs"]),
    )


def decode_request_head(value: bytes | None) -> RequestHead:
    """All but the inputs, which are skipped unseen; raises Undecodable with a readable id."""
    try:
        _open("inference_request", value)
        return _whole(cast("bytes", value), _read_head)
    except Undecodable as error:
        error.request_id = readable_request_id(value)
        raise


def _read_head(stream: BytesIO) -> RequestHead:
    value = stream.getvalue()  # shared; getbuffer() would copy it
    head, inputs, reader = _parts(value[:HEADER])
    datum = cast("dict[str, Any]", schemaless_reader(stream, head, reader))
    start = stream.tell()
    schemaless_reader(stream, inputs, _NOTHING)
    if datum["parameters"]:
        datum["parameters"] = parameters(datum["parameters"])
    return RequestHead(**datum, inputs=_block_count(value, start), inputs_at=start)


@cache
def _parts(header: bytes) -> tuple[Any, Any, Any]:
    """A pinned request schema as its head and its inputs, and how its head is to be read."""
    writer = pinned("inference_request")[header]
    fields = writer["fields"]
    # What needs no resolution is read in half the time.
    reader = None if header == REQUEST_HEADER else _REQUEST_HEAD
    return {**writer, "fields": fields[:-1]}, {**writer, "fields": fields[-1:]}, reader


def _block_count(value: bytes, at: int) -> int:
    """How many items the block of an Avro array has that begins there, a zigzag long.

    Avro 1.12 specification, "Arrays": a negative count is followed by the block's bytes.
    """
    count = shift = 0
    while value[at] & 0x80:
        count |= (value[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
    count |= value[at] << shift
    return abs((count >> 1) ^ -(count & 1))


def readable_request_id(value: bytes | None) -> str:
    """The id of a broken record, or "": its field must decode under a pinned fingerprint."""
    try:
        writer = _open("inference_request", value)
        stream = BytesIO(cast("bytes", value))
        stream.seek(HEADER)
        only_id = {**writer, "fields": writer["fields"][:1]}
        return str(cast("dict[str, Any]", schemaless_reader(stream, only_id, None))["request_id"])
    except (ModelMoraError, *DECODE_FAULTS):
        return ""


def readable_head(value: bytes | None) -> RequestHead | None:
    """What stands before the inputs, also where these are cut or broken; None if that does not."""
    try:
        _open("inference_request", value)
        stream = BytesIO(cast("bytes", value))
        head, _, reader = _parts(stream.read(HEADER))
        datum = cast("dict[str, Any]", schemaless_reader(stream, head, reader))
    except (ModelMoraError, *DECODE_FAULTS):
        return None
    return RequestHead(**datum | {"parameters": parameters(datum["parameters"])})


def encode_inputs(inputs: Sequence[Content]) -> bytes:
    """The Avro array of an InferenceRequest."""
    return write(b"", _INPUTS, {"inputs": plain_contents(inputs)})


def encode_outputs(outputs: Sequence[Content]) -> bytes:
    """The Avro array of an InferenceResult."""
    return write(b"", _OUTPUTS, {"outputs": plain_contents(outputs)})


def count_of(outputs: bytes) -> int:
    """How many contents the array of `encode_outputs` has at least: those of its first block."""
    return _block_count(outputs, 0)


def decode_outputs(outputs: bytes) -> tuple[Content, ...]:
    """The contents of `encode_outputs`; raises Undecodable."""
    try:
        datum = schemaless_reader(
            BytesIO(outputs),
            _OUTPUTS,
            None,
            return_record_name=True,
            return_record_name_override=True,
        )
        return contents_of(cast("dict[str, Any]", datum)["outputs"])
    except DECODE_FAULTS as error:
        raise Undecodable(
            Code.UNDECODABLE, f"the outputs are no Avro of their schema ({type(error).__name__})"
        ) from None


def encode_result_head(head: ResultHead, outputs: bytes = NO_OUTPUTS) -> bytes:
    """A result around outputs that are encoded already (`encode_outputs`)."""
    error, timings, source = head.error, head.timings, head.source
    datum = {
        "request_id": head.request_id,
        "status": head.status,
        "model": head.model,
        "version": head.version,
        "settings": plain_parameters(head.settings) if head.settings else {},
        "error": error
        and {
            "code": error.code,
            "message": error.message,
            "retry_after_ms": error.retry_after_ms,
        },
        "timings": {
            "queue_ms": timings.queue_ms,
            "load_ms": timings.load_ms,
            "inference_ms": timings.inference_ms,
            "total_ms": timings.total_ms,
        },
        "source": {
            "topic": source.topic,
            "partition": source.partition,
            "offset": source.offset,
        },
        "attempt": head.attempt,
    }
    run = _FIRST_RUN if head.run == 1 else write(b"", _RUN, {"run": head.run})
    return write(RESULT_HEADER, _RESULT_HEAD, datum) + outputs + run


def encode_result(result: InferenceResult) -> bytes:
    """The record value of a result."""
    return encode_result_head(result.head, encode_outputs(result.outputs))


def decode_result(value: bytes | None) -> InferenceResult:
    """The whole result; raises Undecodable."""
    datum = read("inference_result", value, _RESULT)
    return InferenceResult(**_head_of(datum), outputs=contents_of(datum["outputs"]))


def decode_result_head(value: bytes | None) -> ResultHead:
    """A result without its outputs; raises Undecodable."""
    return ResultHead(**_head_of(read("inference_result", value, _RESULT_TOLD)))


def _head_of(datum: Mapping[str, Any]) -> dict[str, Any]:
    error = datum["error"]
    return {
        "request_id": datum["request_id"],
        "status": Status(datum["status"]),
        "model": datum["model"],
        "version": datum["version"],
        "source": Source(**datum["source"]),
        "settings": parameters(datum["settings"]),
        "error": error and _error(**error),
        "timings": Timings(**datum["timings"]),
        "attempt": datum["attempt"],
        "run": datum["run"],
    }


def decode_result_source(value: bytes | None) -> Source:
    """Where the request of a result lay, all else unseen; raises Undecodable."""
    return Source(**read("inference_result", value, _RESULT_SOURCE)["source"])


def _error(code: str, message: str, retry_after_ms: int | None) -> ErrorInfo:
    # Nodes are upgraded first: a code of theirs must not make the outcome unreadable.
    if code not in _CODES:
        return ErrorInfo(Code.INFERENCE_FAILED, f"{code}: {message}", retry_after_ms)
    return ErrorInfo(Code(code), message, retry_after_ms)
