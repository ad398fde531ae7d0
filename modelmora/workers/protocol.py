"""The frames between the node and its children: pure functions over bytes, no pickle.

A frame is a u32 little-endian body length, a u8 type and the body. Every type has a cap on its
length; whoever breaks a rule is dropped by the node (`ProtocolError`).

    node to child: LOAD, RUN, CANCEL,     child to node: LOADED, LOAD_FAILED, STARTED, CHUNK,
                   THREADS                               RESULTS, GROUP_DONE, LEARNED, BATCHES
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import orjson

from modelmora.errors import Code, ModelMoraError, RequestError
from modelmora.messages import Parameter
from modelmora.workers.chunks import NOTHING_TOLD, Chunk, Told

KIB, MIB = 1 << 10, 1 << 20
MESSAGE_CHARS = 500  # an error message is one line, whatever a child says


class Kind(IntEnum):
    """The type byte of a frame."""

    LOAD = 1
    RUN = 2
    CANCEL = 3
    THREADS = 4
    LOADED = 16
    LOAD_FAILED = 17
    STARTED = 18
    RESULTS = 19
    GROUP_DONE = 20
    CHUNK = 21
    LEARNED = 22
    BATCHES = 23


HEADER = struct.Struct("<IB")
_RUN = struct.Struct("<QHII")
_CANCEL = _RESULTS = struct.Struct("<QI")
_THREADS = struct.Struct("<H")
_GROUP = struct.Struct("<Q")
_DONE = struct.Struct("<Qd")
_CHUNK = struct.Struct("<QIIII")
_ITEM = struct.Struct("<IBdI")
_LENGTH = struct.Struct("<I")
_FAILED, _OK, _WITH_SETTINGS = range(3)

# Caps on body length in bytes, per direction; a type that is absent may not be sent that way.
TO_CHILD: Mapping[int, int] = {
    Kind.LOAD: MIB,
    Kind.RUN: 512 * MIB,
    Kind.CANCEL: _CANCEL.size,
    Kind.THREADS: _THREADS.size,
}
TO_NODE: Mapping[int, int] = {
    Kind.LOADED: 64 * KIB,
    Kind.LOAD_FAILED: 64 * KIB,
    Kind.STARTED: _GROUP.size,
    Kind.RESULTS: 288 * MIB,
    Kind.GROUP_DONE: _DONE.size,
    Kind.CHUNK: 256 * KIB,
    Kind.LEARNED: KIB,
    Kind.BATCHES: KIB,
}
FRAME_TARGET = 1 * MIB  # a RESULTS frame is closed once it holds this much

_SMALL, _KEEP = 64 * KIB, MIB


class ProtocolError(ModelMoraError):
    """The other side broke the frame protocol."""


@dataclass(frozen=True, slots=True)
class RunItem:
    """What travels beside one request's bytes: ids for logs and traces, and what it has told."""

    id: str
    principal: str = ""
    traceparent: str | None = None
    told: Told = NOTHING_TOLD


@dataclass(frozen=True, slots=True)
class Run:
    """A RUN frame; `values` are the original record values, in the order of the indices."""

    group: int
    threads: int
    parameters: Mapping[str, Any]
    requests: tuple[RunItem, ...]
    values: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class ItemResult:
    """The outcome of one request of a group: Avro bytes of `outputs`, or an error.

    `inference_ms` is the time of the micro-batches that the request had a part in.
    """

    index: int
    outputs: bytes | None
    error: RequestError | None
    inference_ms: float
    settings: Mapping[str, Parameter] | None = None


class FrameReader:
    """Cuts a byte stream into frames, in place.

    Ask `buffer()` for room, say `received(n)`, then walk `frames()`; the bodies are views that
    hold until the next `buffer()`. A large frame gets a buffer of its own length, taken only
    after its header passed the caps.
    """

    def __init__(self, caps: Mapping[int, int]) -> None:
        self._caps = caps
        self._view = memoryview(bytearray(_SMALL))
        self._start = self._end = 0
        self._need = HEADER.size

    def buffer(self) -> memoryview:
        """Free room to receive into, at least one byte."""
        kept, size = self._end - self._start, len(self._view)
        if kept == 0 and self._need <= _SMALL < _KEEP < size:
            self._replace(_SMALL)
        elif self._need > size:
            self._replace(self._need)
        elif self._start + max(self._need, kept + 1) > size or kept == 0:
            # Moving through a copy, since the two places may overlap.
            self._view[:kept] = bytes(self._view[self._start : self._end])
            self._start, self._end = 0, kept
        return self._view[self._end :]

    def received(self, count: int) -> None:
        """Take note of `count` bytes written into the last `buffer()`."""
        self._end += count

    def frames(self) -> Iterator[tuple[Kind, memoryview]]:
        """The frames complete by now. Raises ProtocolError at the first that breaks a rule."""
        while self._end - self._start >= HEADER.size:
            length, kind = HEADER.unpack_from(self._view, self._start)
            cap = self._caps.get(kind)
            if cap is None:
                raise ProtocolError(f"a frame of unknown type {kind}")
            if length > cap:
                raise ProtocolError(f"a {Kind(kind).name} frame of {length} bytes, over {cap}")
            self._need = HEADER.size + length
            if self._end - self._start < self._need:
                return
            body = self._view[self._start + HEADER.size : self._start + self._need]
            self._start += self._need
            self._need = HEADER.size
            yield Kind(kind), body

    def _replace(self, size: int) -> None:
        kept = self._end - self._start
        view = memoryview(bytearray(size))
        view[:kept] = self._view[self._start : self._end]
        self._view, self._start, self._end = view, 0, kept


def frame(kind: Kind, body: bytes = b"") -> bytes:
    """One frame."""
    return HEADER.pack(len(body), kind) + body


def encode_json(kind: Kind, values: Mapping[str, Any]) -> bytes:
    """A frame whose body is a JSON object (LOAD, LOADED, LOAD_FAILED, LEARNED)."""
    return frame(kind, orjson.dumps(values))


def decode_json(body: memoryview) -> dict[str, Any]:
    """The JSON object of a body."""
    try:
        values = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise ProtocolError("a body that is not JSON") from None
    if not isinstance(values, dict):
        raise ProtocolError("a body that is not a JSON object")
    return values


def encode_run(
    group: int,
    threads: int,
    parameters: Mapping[str, Any],
    requests: Sequence[Mapping[str, Any]],
    values: Sequence[bytes],
) -> bytes:
    """The RUN frame of a group; `requests` hold the fields of a `RunItem` for each value."""
    meta = orjson.dumps({"parameters": parameters, "requests": requests})
    pack = _LENGTH.pack
    parts = [b"", _RUN.pack(group, threads, len(values), len(meta)), meta]
    length = _RUN.size + len(meta) + 4 * len(values)
    for value in values:
        parts += (pack(len(value)), value)
        length += len(value)
    parts[0] = HEADER.pack(length, Kind.RUN)
    return b"".join(parts)


def decode_run(body: memoryview) -> Run:
    """The group of a RUN body; the values are copied out of it."""
    try:
        group, threads, count, meta_length = _RUN.unpack_from(body)
        start = _RUN.size + meta_length
        meta = decode_json(body[_RUN.size : start])
        values = []
        for _ in range(count):
            (length,) = _LENGTH.unpack_from(body, start)
            start += 4 + length
            values.append(bytes(body[start - length : start]))
        requests = tuple(
            RunItem(
                entry["id"],
                entry.get("principal", ""),
                entry.get("traceparent"),
                Told(*entry.get("told", ())),
            )
            for entry in meta["requests"]
        )
        parameters = decode_parameters(meta["parameters"])
    except (struct.error, KeyError, TypeError, AttributeError) as error:
        raise ProtocolError(f"a RUN body that cannot be read ({type(error).__name__})") from None
    if start != len(body) or len(requests) != count:
        raise ProtocolError("a RUN body whose lengths do not add up")
    return Run(group, threads, parameters, requests, tuple(values))


def encode_cancel(group: int, index: int) -> bytes:
    """A CANCEL frame."""
    return frame(Kind.CANCEL, _CANCEL.pack(group, index))


def decode_cancel(body: memoryview) -> tuple[int, int]:
    """Group and index to cancel."""
    group, index = _unpack(_CANCEL, body)
    return group, index


def encode_threads(count: int) -> bytes:
    """A THREADS frame: what the last RUN said of threads is this from now on."""
    return frame(Kind.THREADS, _THREADS.pack(count))


def decode_threads(body: memoryview) -> int:
    """CPU threads to compute with."""
    (count,) = _unpack(_THREADS, body)
    return int(count)


def encode_started(group: int) -> bytes:
    """A STARTED frame."""
    return frame(Kind.STARTED, _GROUP.pack(group))


def decode_started(body: memoryview) -> int:
    """The group that began."""
    (group,) = _unpack(_GROUP, body)
    return int(group)


def encode_done(group: int, run_ms: float) -> bytes:
    """A GROUP_DONE frame."""
    return frame(Kind.GROUP_DONE, _DONE.pack(group, run_ms))


def decode_done(body: memoryview) -> tuple[int, float]:
    """The group that ended and its milliseconds in the child."""
    group, run_ms = _unpack(_DONE, body)
    return group, _time(run_ms)


def encode_chunk(group: int, chunk: Chunk) -> bytes:
    """A CHUNK frame."""
    head = _CHUNK.pack(group, chunk.index, chunk.sequence, chunk.step, chunk.steps)
    return frame(Kind.CHUNK, head + chunk.text.encode())


def decode_chunk(body: memoryview) -> tuple[int, Chunk]:
    """The group, and what one of its requests tells."""
    try:
        group, index, sequence, step, steps = _CHUNK.unpack_from(body)
        text = str(body[_CHUNK.size :], "utf-8")
    except (struct.error, UnicodeDecodeError):
        raise ProtocolError("a CHUNK body that cannot be read") from None
    return group, Chunk(index, sequence, text, step, steps)


def encode_error(error: RequestError) -> bytes:
    """The JSON of an item's error."""
    return orjson.dumps({"code": error.code.value, "message": error.message[:MESSAGE_CHARS]})


def encode_item(
    index: int,
    ok: bool,
    inference_ms: float,
    payload: bytes,
    settings: Mapping[str, Any] | None = None,
) -> bytes:
    """One entry of a RESULTS frame; `payload` is Avro `outputs`, or `encode_error`'s bytes.

    With `settings`, their JSON and its length stand before the outputs.
    """
    state = _OK if ok else _FAILED
    if settings:
        state, said = _WITH_SETTINGS, orjson.dumps(settings)
        payload = b"".join((_LENGTH.pack(len(said)), said, payload))
    return _ITEM.pack(index, state, inference_ms, len(payload)) + payload


def encode_results(group: int, items: Sequence[bytes]) -> bytes:
    """A RESULTS frame of entries made by `encode_item`."""
    body = b"".join((_RESULTS.pack(group, len(items)), *items))
    return HEADER.pack(len(body), Kind.RESULTS) + body


def decode_results(body: memoryview) -> tuple[int, list[ItemResult]]:
    """The group and its answers; the outputs are copied out of the body."""
    try:
        group, count = _RESULTS.unpack_from(body)
        if count > (len(body) - _RESULTS.size) // _ITEM.size:
            raise ProtocolError("a RESULTS body with a lying count")
        start, results = _RESULTS.size, []
        unpack, head = _ITEM.unpack_from, _ITEM.size
        for _ in range(count):
            index, state, inference_ms, length = unpack(body, start)
            _time(inference_ms)
            start += head + length
            if start > len(body):
                raise ProtocolError("a RESULTS body that ends inside an item")
            payload = body[start - length : start]
            if state == _OK:
                results.append(ItemResult(index, bytes(payload), None, inference_ms))
            elif state == _FAILED:
                error = decode_error(decode_json(payload))
                results.append(ItemResult(index, None, error, inference_ms))
            else:
                results.append(_with_settings(index, payload, inference_ms))
    except struct.error:
        raise ProtocolError("a RESULTS body that cannot be read") from None
    if start != len(body):
        raise ProtocolError("a RESULTS body with bytes to spare")
    return group, results


def _with_settings(index: int, payload: memoryview, inference_ms: float) -> ItemResult:
    (length,) = _LENGTH.unpack_from(payload)
    start = _LENGTH.size + length
    settings = decode_parameters(decode_json(payload[_LENGTH.size : start]))
    return ItemResult(index, bytes(payload[start:]), None, inference_ms, settings)


def decode_parameters(values: Mapping[str, Any]) -> dict[str, Parameter]:
    """Parameters of their JSON. Raises ProtocolError for what is none."""
    parameters = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    if not all(map(_is_parameter, parameters.values())):
        raise ProtocolError("settings that no result takes")
    return parameters


def _is_parameter(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(isinstance(each, str) for each in value)
    if isinstance(value, int):
        return -(1 << 63) <= value < 1 << 63
    return value is None or isinstance(value, float | str)


def decode_error(values: Mapping[str, Any]) -> RequestError:
    """The error of an item or a load, from its JSON."""
    try:
        return RequestError(Code(values["code"]), str(values["message"])[:MESSAGE_CHARS])
    except (KeyError, ValueError):
        raise ProtocolError("an error without a known code") from None


def _time(milliseconds: float) -> float:
    if not 0 <= milliseconds < math.inf:  # else what is estimated from it is none for ever
        raise ProtocolError("a time that is none")
    return milliseconds


def _unpack(layout: struct.Struct, body: memoryview) -> tuple[Any, ...]:
    try:
        return layout.unpack(body)
    except struct.error:
        raise ProtocolError(f"a body of {len(body)} bytes, not {layout.size}") from None
