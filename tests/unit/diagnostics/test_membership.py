"""What the doctor concludes from what the broker says of the nodes' group."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelmora.diagnostics.finding import Finding, State
from modelmora.diagnostics.groups import pace_line
from modelmora.diagnostics.membership import Seen, judged
from modelmora.settings import KafkaSettings, Settings

LOW, HIGH = ("ns.requests.low", 0), ("ns.requests.high", 1)
NOBODY = frozenset[tuple[str, int]]()
SOUND = Seen("consumer", (10_000, 1_000), 6_000, ("n1", "n2"), 1, 8, NOBODY, NOBODY)


def findings(seen: Seen, **settings: object) -> dict[str, Finding]:
    found = list(judged(seen, Settings(namespace="ns", **settings)))
    assert len({each.check for each in found}) == len(found)
    return {each.check: each for each in found}


def test_a_sound_group_is_one_line() -> None:
    found = findings(SOUND)
    assert {each.state for each in found.values()} == {State.OK}
    assert found["group"].found == (
        "ns.nodes: 2 nodes, 1 on standby; protocol consumer (KIP-848), session 10 s, heartbeat 1 s"
    )


def test_the_classic_protocol_has_its_members_times() -> None:
    found = findings(replace(SOUND, protocol="classic", pace=None, least_session_ms=None))
    assert "protocol classic" in found["group"].found
    assert pace_line("consumer", None, None) == "protocol consumer (KIP-848)"


def test_brokers_that_allow_no_session_as_short() -> None:
    found = findings(replace(SOUND, pace=(45_000, 5_000), least_session_ms=45_000))["session"]
    assert found.state is State.NOTE
    assert found.found == "the brokers allow none below 45 s, 10 s are wanted"
    assert "group.consumer.min.session.timeout.ms=10000" in found.fix
    longer = {"timing": {"session_timeout_s": 45}}
    assert "session" not in findings(replace(SOUND, least_session_ms=45_000), **longer)
    classic = KafkaSettings(group_protocol="classic")
    assert "session" not in findings(replace(SOUND, least_session_ms=45_000), kafka=classic)


def test_a_group_that_kept_the_brokers_session() -> None:
    found = findings(replace(SOUND, pace=(45_000, 5_000)))["session"]
    assert (found.state, "after 45 s, not 10 s" in found.found) == (State.NOTE, True)


def test_two_members_of_one_name() -> None:
    found = findings(replace(SOUND, names=("n1", "n2", "n1")))["members"]
    assert (found.state, found.found) == (State.NOTE, "2 members are called n1")


@pytest.mark.parametrize(
    ("unowned", "unread", "names", "state", "said"),
    [
        ({LOW, HIGH}, {LOW}, (), State.WRONG, "where no node reads: ns.requests.low:0"),
        ({LOW, HIGH}, set(), ("n1",), State.WRONG, "no node reads ns.requests.high:1, ns.r"),
        (set(), {LOW}, ("n1",), State.NOTE, "records wait, or run for long: ns.requests.low:0"),
    ],
)
def test_lanes_that_are_not_read(
    unowned: set[tuple[str, int]],
    unread: set[tuple[str, int]],
    names: tuple[str, ...],
    state: State,
    said: str,
) -> None:
    seen = replace(SOUND, names=names, unowned=frozenset(unowned), unread=frozenset(unread))
    found = findings(seen)["lanes"]
    assert found.state is state
    assert said in found.found


def test_without_nodes_and_records_nothing_is_wrong() -> None:
    found = findings(replace(SOUND, names=(), unowned=frozenset({LOW})))
    assert {name: each.state for name, each in found.items()} == {"group": State.NOTE}


def test_many_partitions_are_not_all_named() -> None:
    many = frozenset(("ns.requests.low", number) for number in range(12))
    found = findings(replace(SOUND, unowned=many))["lanes"]
    assert found.found.endswith("ns.requests.low:2 and 9 more")
