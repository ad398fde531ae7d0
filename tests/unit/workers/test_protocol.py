"""Frames survive the way there and back, and nothing else passes."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmora.errors import Code, RequestError
from modelmora.workers import protocol
from modelmora.workers.chunks import NOTHING_TOLD, Chunk, Stream, Told
from modelmora.workers.protocol import FrameReader, Kind, ProtocolError, RunItem

VALUES = st.lists(st.binary(max_size=300), max_size=20)


def read_all(
    stream: bytes, caps: dict[int, int], steps: list[int] | None = None
) -> list[tuple[Kind, bytes]]:
    """Feed a stream in pieces and copy out the frames."""
    reader, found, position, turn = FrameReader(caps), [], 0, 0
    while position < len(stream):
        room = reader.buffer()
        assert len(room) > 0
        size = min(len(room), steps[turn % len(steps)] if steps else len(room))
        piece = stream[position : position + size]
        room[: len(piece)] = piece
        reader.received(len(piece))
        position, turn = position + len(piece), turn + 1
        found += [(kind, bytes(body)) for kind, body in reader.frames()]
    return found


@given(VALUES, st.lists(st.integers(1, 70_000), min_size=1, max_size=4))
def test_runs_come_through_any_cutting_of_the_stream(values: list[bytes], steps: list[int]) -> None:
    requests = [
        {"id": f"r{i}", "principal": "local", "traceparent": None} for i in range(len(values))
    ]
    parameters = {"truncate": True, "stop": ["a", "b"]}
    one = protocol.encode_run(7, 2, parameters, requests, values)
    between = protocol.encode_cancel(7, 3) + protocol.encode_threads(300)
    frames = read_all(one + between + one, dict(protocol.TO_CHILD), steps)
    assert [kind for kind, _ in frames] == [Kind.RUN, Kind.CANCEL, Kind.THREADS, Kind.RUN]
    assert protocol.decode_threads(memoryview(frames[2][1])) == 300
    run = protocol.decode_run(memoryview(frames[3][1]))
    assert (run.group, run.threads, list(run.values)) == (7, 2, values)
    assert run.parameters == {"truncate": True, "stop": ("a", "b")}
    assert [request.id for request in run.requests] == [request["id"] for request in requests]
    assert protocol.decode_cancel(memoryview(frames[1][1])) == (7, 3)


def test_a_frame_larger_than_the_buffer_comes_through_whole_and_the_room_shrinks_again() -> None:
    big = bytes(range(256)) * (5 << 12)
    item = protocol.encode_item(0, True, 1.5, big)
    stream = protocol.encode_results(1, [item])
    reader = FrameReader(protocol.TO_NODE)
    position = 0
    found: list[bytes] = []
    while position < len(stream):
        room = reader.buffer()
        piece = stream[position : position + len(room)]
        room[: len(piece)] = piece
        reader.received(len(piece))
        position += len(piece)
        for _, body in reader.frames():
            found += [r.outputs or b"" for r in protocol.decode_results(body)[1]]
    assert found == [big]
    assert len(reader.buffer()) <= 64 << 10


@given(st.lists(st.tuples(st.binary(max_size=50), st.booleans()), max_size=10))
def test_results_come_through(entries: list[tuple[bytes, bool]]) -> None:
    refusal = RequestError(Code.INVALID_INPUT, "no")
    items = [
        protocol.encode_item(i, ok, 0.5, payload if ok else protocol.encode_error(refusal))
        for i, (payload, ok) in enumerate(entries)
    ]
    ((kind, body),) = read_all(protocol.encode_results(9, items), dict(protocol.TO_NODE))
    group, results = protocol.decode_results(memoryview(body))
    assert (kind, group, len(results)) == (Kind.RESULTS, 9, len(entries))
    for result, (payload, ok) in zip(results, entries, strict=True):
        assert result.outputs == (payload if ok else None)
        assert (result.error is None) == ok
        assert ok or (result.error is not None and result.error.code is Code.INVALID_INPUT)


@given(st.integers(0, 9), st.integers(0, 9), st.text(max_size=50), st.integers(0, 99))
def test_chunks_come_through(index: int, sequence: int, text: str, step: int) -> None:
    chunk = Chunk(index, sequence, text, step, 99)
    ((kind, body),) = read_all(protocol.encode_chunk(9, chunk), dict(protocol.TO_NODE))
    assert (kind, protocol.decode_chunk(memoryview(body))) == (Kind.CHUNK, (9, chunk))


def test_the_largest_chunk_fits_its_frame_whatever_the_characters() -> None:
    stream = Stream(NOTHING_TOLD)
    stream.add("🙂" * 150_000)
    frames = [protocol.encode_chunk(1, chunk) for chunk in stream.chunks(0.0)]
    assert len(read_all(b"".join(frames), dict(protocol.TO_NODE))) == len(frames) == 3


def test_settings_and_what_was_told_come_through() -> None:
    settings = {"seed": 7, "stop": ("a", "b"), "greedy": False, "top": 0.5, "name": None}
    item = protocol.encode_item(3, True, 0.5, b"outputs", settings)
    _, (result,) = protocol.decode_results(memoryview(protocol.encode_results(1, [item]))[5:])
    assert (result.outputs, result.settings) == (b"outputs", settings)
    request = {"id": "r", "told": (3, 20, 4_000_000_000)}
    run = protocol.decode_run(memoryview(protocol.encode_run(1, 1, {}, [request], [b"v"]))[5:])
    assert run.requests == (RunItem("r", told=Told(3, 20, 4_000_000_000)),)


@pytest.mark.row("F25")
def test_an_over_long_frame_is_refused_from_its_header_alone() -> None:
    header = struct.pack("<IB", (288 << 20) + 1, Kind.RESULTS)
    with pytest.raises(ProtocolError, match="RESULTS frame of 301989889 bytes"):
        read_all(header, dict(protocol.TO_NODE))


@pytest.mark.parametrize("kind", [0, 1, 2, 3, 99, 255])
def test_a_type_that_may_not_come_this_way_is_refused(kind: int) -> None:
    with pytest.raises(ProtocolError, match=f"unknown type {kind}"):
        read_all(struct.pack("<IB", 0, kind), dict(protocol.TO_NODE))


@pytest.mark.row("F25")
@given(st.binary(max_size=400))
def test_garbage_never_raises_anything_but_a_protocol_error(body: bytes) -> None:
    for decode in (
        protocol.decode_results,
        protocol.decode_run,
        protocol.decode_json,
        protocol.decode_done,
        protocol.decode_started,
        protocol.decode_cancel,
        protocol.decode_threads,
        protocol.decode_chunk,
    ):
        try:
            decode(memoryview(body))
        except ProtocolError:
            continue


@pytest.mark.row("F25")
def test_a_lying_count_is_refused_before_anything_is_built() -> None:
    with pytest.raises(ProtocolError, match="lying count"):
        protocol.decode_results(memoryview(struct.pack("<QI", 1, 0xFFFFFFFF)))


def test_an_item_error_needs_a_known_code() -> None:
    item = protocol.encode_item(0, False, 0.0, b'{"code": "oops", "message": ""}')
    with pytest.raises(ProtocolError, match="known code"):
        protocol.decode_results(memoryview(protocol.encode_results(1, [item]))[5:])


@pytest.mark.row("F25")
@pytest.mark.parametrize("told", [-1.0, float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused(told: float) -> None:
    item = protocol.encode_item(0, True, told, b"")
    with pytest.raises(ProtocolError, match="a time"):
        protocol.decode_results(memoryview(protocol.encode_results(1, [item]))[5:])
    with pytest.raises(ProtocolError, match="a time"):
        protocol.decode_done(memoryview(protocol.encode_done(1, told))[5:])
