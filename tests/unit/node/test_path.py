"""What a node concludes from looking at its group: unread partitions, twins, membership."""

from __future__ import annotations

from modelmora.kafka.batches import Partition
from modelmora.node.path import GroupMember, Look, Path

OURS: Partition = ("lane", 0)
NOBODYS: Partition = ("lane", 1)
ME = GroupMember("id-1", "n1")


def path() -> Path:
    return Path("n1", session_s=10)


def seen(
    *members: GroupMember,
    bounds: dict[Partition, tuple[int, int]] | None = None,
    unowned: frozenset[Partition] = frozenset(),
    committed: dict[Partition, int] | None = None,
    owners: dict[Partition, str] | None = None,
) -> Look:
    return Look(frozenset(members), owners or {}, unowned, bounds or {}, committed or {})


def test_membership_is_what_the_group_says() -> None:
    looked = path()
    looked.saw(seen(ME), "id-1", {}, set(), 1)
    assert looked.in_group
    looked.saw(seen(GroupMember("id-9", "n9")), "id-1", {}, set(), 2)
    assert not looked.in_group


def test_a_partition_is_unread_while_records_lie_on_it_and_nothing_moves() -> None:
    looked = path()
    for now in (10, 20, 30, 40):
        looked.saw(seen(ME, bounds={OURS: (0, 8)}), "id-1", {OURS: 5}, set(), now)
    assert looked.unread == {OURS: 10}
    assert looked.unread_s(40) == 30
    looked.saw(seen(ME, bounds={OURS: (0, 9)}), "id-1", {OURS: 8}, set(), 41)
    assert looked.unread_s(41) == 0
    looked.saw(seen(ME, bounds={OURS: (0, 9)}), "id-1", {OURS: 9}, set(), 42)
    assert looked.unread == {}


def test_behind_what_has_come_a_partition_waits_for_its_turn() -> None:
    other = ("lane", 3)
    looked = path()
    both = {OURS: (0, 900), other: (0, 900)}
    for now in (10, 20, 30, 40):
        at = {OURS: 5, other: now}
        looked.saw(seen(ME, bounds=both), "id-1", at, set(), now, behind=True)
    assert looked.unread_s(40) == 0
    # Nothing moves at all, or all that came was taken in.
    looked.saw(seen(ME, bounds=both), "id-1", {OURS: 5, other: 40}, set(), 50, behind=True)
    assert looked.unread_s(50) == 10
    looked.saw(seen(ME, bounds=both), "id-1", {OURS: 5, other: 60}, set(), 60)
    assert looked.unread_s(60) == 20


def test_what_has_come_to_its_end_moves_no_more() -> None:
    """Else one partition that was read once hides for ever that nothing is taken in."""
    other = ("lane", 3)
    looked = path()
    for now, at in ((1, 5), (2, 9)):
        both = {OURS: (0, 9), other: (0, 9)}
        looked.saw(seen(ME, bounds=both), "id-1", {OURS: at, other: 9}, set(), now, behind=True)
    both = {OURS: (0, 9), other: (0, 20)}
    for now in (3, 10, 20):
        looked.saw(seen(ME, bounds=both), "id-1", {OURS: 9, other: 9}, set(), now, behind=True)
    assert looked.unread == {other: 3}


def test_who_was_frozen_is_not_blamed_for_what_lay_unread_meanwhile() -> None:
    looked = path()
    for now in (10, 11, 300, 301):
        looked.saw(seen(ME, bounds={OURS: (0, 8)}), "id-1", {OURS: 5}, set(), now)
    assert looked.unread_s(301) < 15


def test_while_the_broker_says_nothing_nothing_is_unread_for_longer() -> None:
    looked = path()
    looked.saw(seen(ME, bounds={OURS: (0, 8)}), "id-1", {OURS: 5}, set(), 10)
    looked.unheard(45)
    looked.saw(seen(ME, bounds={OURS: (0, 8)}), "id-1", {OURS: 5}, set(), 46)
    assert looked.unread_s(46) == 1


def test_a_gated_partition_waits_on_purpose() -> None:
    looked = path()
    for now in (10, 400):
        looked.saw(seen(ME, bounds={OURS: (0, 8)}), "id-1", {OURS: 5}, {OURS}, now)
    assert looked.unread == {}


def test_a_partition_that_nobody_has_is_unread_from_what_was_committed() -> None:
    looked = path()
    alone = seen(ME, bounds={NOBODYS: (0, 3)}, unowned=frozenset({NOBODYS}))
    for now in range(10, 308, 9):
        looked.saw(alone, "id-1", {}, set(), now)
    assert looked.unread_s(307) == 297
    done = seen(ME, bounds={NOBODYS: (0, 3)}, unowned=frozenset({NOBODYS}), committed={NOBODYS: 3})
    looked.saw(done, "id-1", {}, set(), 308)
    assert looked.unread == {}


def test_what_retention_took_is_not_waited_for() -> None:
    looked = path()
    looked.saw(seen(ME, bounds={OURS: (8, 8)}), "id-1", {OURS: 5}, set(), 10)
    assert looked.unread == {}


def test_marks_of_transactions_are_no_records() -> None:
    looked = path()
    looked.saw(seen(ME, bounds={OURS: (0, 8)}), "id-1", {OURS: 7}, set(), 10)
    looked.read(OURS, 8)
    looked.saw(seen(ME, bounds={OURS: (0, 8)}), "id-1", {OURS: 7}, set(), 50)
    assert looked.unread == {}
    looked.saw(seen(ME, bounds={OURS: (0, 9)}), "id-1", {OURS: 7}, set(), 51)
    assert looked.unread == {OURS: 51}


TWIN = GroupMember("id-2", "n1")


def test_of_two_nodes_with_one_name_the_one_that_was_there_stays() -> None:
    elder, younger = path(), path()
    elder.saw(seen(ME), "id-1", {}, set(), 0)
    for now in range(2, 17):
        elder.saw(seen(ME, TWIN), "id-1", {}, set(), now)
        younger.saw(seen(ME, TWIN), "id-2", {}, set(), now)
    assert not elder.is_twin(16)
    assert (elder.twin_s(15), elder.twin_s(16)) == (0, 1), "not before a dead one's session ends"
    assert younger.is_twin(16)


def test_of_two_that_came_at_once_one_waits_for_the_other_to_end() -> None:
    one, other = path(), path()
    for now in range(2, 17):
        one.saw(seen(ME, TWIN), "id-1", {}, set(), now)
        other.saw(seen(ME, TWIN), "id-2", {}, set(), now)
    assert (one.is_twin(16), other.is_twin(16)) == (False, True)
    one.saw(seen(ME), "id-1", {}, set(), 17)
    assert not one.is_twin(60)


def test_while_the_broker_says_nothing_no_twin_grows_older() -> None:
    """Nor does the session of a former self, which would end it."""
    looked = path()
    for now in (2, 3, 20, 21):
        looked.saw(seen(ME, TWIN), "id-2", {}, set(), now)
        assert not looked.is_twin(now)
    for now in range(22, 35):
        looked.saw(seen(ME, TWIN), "id-2", {}, set(), now)
    assert looked.is_twin(34)


def test_a_twin_that_does_not_end_ends_the_other_at_last() -> None:
    looked = path()
    looked.saw(seen(ME), "id-1", {}, set(), 0)
    looked.saw(seen(ME, TWIN), "id-1", {}, set(), 1)
    assert looked.is_twin(62)


def test_standby_is_a_member_without_partitions_while_others_have_them_all() -> None:
    looked = path()
    looked.saw(seen(ME, owners={OURS: "id-9"}), "id-1", {}, set(), 1)
    assert looked.on_standby
    looked.saw(seen(ME, owners={OURS: "id-1"}), "id-1", {}, set(), 1)
    assert not looked.on_standby, "its partitions are on their way"
    nobodys = seen(ME, owners={OURS: "id-9"}, unowned=frozenset({NOBODYS}))
    looked.saw(nobodys, "id-1", {}, set(), 1)
    assert not looked.on_standby


def test_a_former_self_that_still_counts_as_a_member_is_no_twin_for_long() -> None:
    looked = path()
    looked.saw(seen(ME, GroupMember("killed", "n1")), "id-1", {}, set(), 2)
    looked.saw(seen(ME), "id-1", {}, set(), 11)
    assert not looked.is_twin(60)
