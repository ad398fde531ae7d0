"""Request ids, their runs and the partitions they hash to."""

from __future__ import annotations

import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmora.wire import MOST_RUNS, new_request_id, partition_of, read_run, time_of

# Kafka's own vectors (clients/src/test/.../utils/UtilsTest.java, testMurmur2).
JAVA = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


@pytest.mark.parametrize(("key", "murmur2"), JAVA.items())
def test_partitions_are_those_of_the_java_client(key: str, murmur2: int) -> None:
    for partitions in (1, 2, 12, 48, 2**31):
        assert partition_of(key.encode(), partitions) == (murmur2 & 0x7FFFFFFF) % partitions


@given(st.binary(max_size=64), st.integers(1, 1000))
def test_partitions_are_in_range(key: bytes, partitions: int) -> None:
    assert 0 <= partition_of(key, partitions) < partitions


def test_ids_are_uuid_version_7_of_now() -> None:
    before = time.time_ns() // 1_000_000
    ids = [new_request_id() for _ in range(1000)]
    after = time.time_ns() // 1_000_000
    assert len(set(ids)) == 1000
    for text in ids:
        parsed = uuid.UUID(text)
        assert str(parsed) == text
        assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
        made = time_of(text)
        assert made is not None
        assert before <= made <= after


@given(st.integers(1, 48), st.data())
def test_ids_hash_to_the_partitions_asked_for(partitions: int, data: st.DataObject) -> None:
    mine = data.draw(st.sets(st.integers(0, partitions - 1), min_size=1))
    text = new_request_id(partitions, mine)
    assert partition_of(text.encode(), partitions) in mine
    assert uuid.UUID(text).version == 7


def test_the_time_of_the_standards_example() -> None:
    # RFC 9562, appendix A.6.
    assert time_of("017F22E2-79B0-7CC3-98C4-DC0C0C07398F") == 0x017F22E279B0


VERSION_4 = "919108f7-52d1-4320-9bac-f847db4148a8"


@pytest.mark.parametrize("text", ["", "order-17", str(uuid.UUID(int=0)), VERSION_4])
def test_other_ids_have_no_time(text: str) -> None:
    assert time_of(text) is None


@pytest.mark.parametrize(
    ("header", "run"),
    [
        (None, 1),
        (b"1", 1),
        (b"2", 2),
        (b"1000000000", 1_000_000_000),
        (b"%d" % MOST_RUNS, MOST_RUNS),
        (b"%d" % (MOST_RUNS + 1), 1),
        (b"0", 1),
        (b"-1", 1),
        (b"x", 1),
        (b"", 1),
        (b"1e9", 1),
        ("٣".encode(), 1),
        (b"9" * 5000, 1),
    ],
)
def test_a_run_that_no_replay_writes_is_the_first(header: bytes | None, run: int) -> None:
    assert read_run(header) == run
