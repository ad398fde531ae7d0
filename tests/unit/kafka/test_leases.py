"""Leases of nodes: who runs is told by the log, in its own time."""

from __future__ import annotations

import pytest

from modelmora.kafka.leases import Leases, NodeLease
from modelmora.messages import RegistryKind, RegistryRecord, RequestHead

MODEL = RegistryRecord(RegistryKind.MODEL, "m", "1", "echo", "/m", "a")
LEASE_MS = 1000


def lease(node: str, *, present: bool = True, **serves: str) -> RegistryRecord:
    return RegistryRecord(
        RegistryKind.NODE,
        node,
        "",
        "",
        "",
        node,
        present,
        lease_ms=LEASE_MS,
        serves={f"{name}@1": task for name, task in serves.items()},
        partitions=(0, 2),
    )


def names(leases: tuple[NodeLease, ...]) -> list[str]:
    return [each.node for each in leases]


def test_a_lease_holds_until_a_record_is_newer_than_it_says() -> None:
    leases = Leases()
    assert leases.take(b"NODE:a@", lease("a", m="echo"), 5000)
    assert leases.take(b"NODE:b@", lease("b"), 6000)
    assert names(leases.living()) == ["a", "b"]
    assert not leases.take(b"MODEL:m@1", MODEL, 6001)
    assert (names(leases.living()), names(leases.lapsed())) == (["b"], ["a"])
    assert leases.living()[0].partitions == (0, 2)
    leases.take(b"NODE:a@", lease("a"), 6002)
    assert sorted(names(leases.living())) == ["a", "b"]


def test_a_clock_that_was_ahead_for_a_moment_kills_nobody() -> None:
    leases = Leases()
    leases.take(b"NODE:a@", lease("a"), 5000)
    leases.take(b"MODEL:m@1", MODEL, 5000 + 3_600_000)
    leases.take(b"MODEL:m@1", MODEL, 5100)
    assert names(leases.living()) == ["a"]


@pytest.mark.parametrize("end", [None, lease("a", present=False)])
def test_who_says_so_is_gone_at_once(end: RegistryRecord | None) -> None:
    leases = Leases()
    leases.take(b"NODE:a@", lease("a"), 5000)
    assert leases.take(b"NODE:a@", end, 5001)
    assert leases.living() == leases.lapsed() == ()
    assert not leases.take(b"MODEL:m@1", None, 5002)


def test_a_lease_without_a_time_is_none() -> None:
    leases = Leases()
    leases.take(b"NODE:a@", RegistryRecord(RegistryKind.NODE, "a", "", "", "", "a"), 5000)
    leases.take(b"MODEL:m@1", MODEL, 5001)
    assert leases.living() == ()


def test_who_lapsed_long_ago_is_to_be_removed() -> None:
    leases = Leases()
    leases.take(b"NODE:a@", lease("a"), 5000)
    leases.take(b"MODEL:m@1", MODEL, 15_000)
    assert leases.forgotten() == []
    leases.take(b"MODEL:m@1", MODEL, 15_001)
    assert leases.forgotten() == [b"NODE:a@"]


@pytest.mark.parametrize(
    ("model", "task", "has"),
    [
        ("m", None, True),
        ("m@1", None, True),
        ("m@2", None, False),
        ("mm", None, False),
        ("", "echo", True),
        ("", "sleep", False),
        ("", None, False),
        ("@", None, False),
    ],
)
def test_what_a_node_has(model: str, task: str | None, has: bool) -> None:
    leases = Leases()
    leases.take(b"NODE:a@", lease("a", m="echo"), 5000)
    assert leases.living()[0].has(RequestHead("id", model, task)) is has
