"""The consumer group on a real broker: joins, leaves, topics and offsets that change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaException, Producer, TopicPartition

from modelmora.broker import EmbeddedBroker, config, embedded
from modelmora.kafka.admin import Admin
from modelmora.kafka.reading.standing import Standing
from modelmora.kafka.reading.unreadable import Unreadable
from tests.integration.group_rig import Rig, until
from tests.topics import produce_unreadable


@pytest.fixture(params=["consumer", "classic"])
async def rig(
    broker: EmbeddedBroker, namespace: str, request: pytest.FixtureRequest
) -> AsyncIterator[Rig]:
    rig = Rig(broker.bootstrap_servers, namespace, group_protocol=request.param)
    assert Admin(rig.settings).configure_group() is None
    yield rig
    await rig.close()


async def test_lanes_of_one_number_stay_together_through_joins_and_leaves(rig: Rig) -> None:
    rig.create(6)
    first = rig.join("n1")
    await rig.shared(6)
    second, third = rig.join("n2"), rig.join("n3")
    await until(lambda: all(len(owner.epochs) == 6 for owner in rig.owners), "equal shares")
    for owner in (first, second, third):
        numbers = {number for _, number in owner.epochs}
        assert len(owner.epochs) == len(numbers) * len(rig.lanes)
    await rig.leave(second)
    await rig.shared(6)


@pytest.mark.parametrize("rig", ["consumer"], indirect=True)
async def test_kept_partitions_notice_nothing_of_a_join(rig: Rig) -> None:
    rig.create(4)
    first = rig.join("n1")
    await rig.shared(4)
    before = dict(first.epochs)
    second = rig.join("n2")
    await until(lambda: len(second.epochs) == 6, "half of the partitions")
    revoked = set().union(*(which for how, which in first.told if how == "revoked"))
    assert revoked == set(second.epochs)
    assert first.epochs == {each: before[each] for each in before if each not in revoked}


async def test_a_partition_that_is_renewed_has_another_epoch_and_is_read_anew(rig: Rig) -> None:
    rig.create(1)
    owner = rig.join("n1")
    await rig.shared(1)
    partition, before = next(iter(owner.epochs.items()))
    rig.send(partition, b"one")
    await until(lambda: len(owner.records) == 1, "the record")
    rig.places[partition] = 0
    owner.member.renew(partition, before - 1000)  # of an epoch that is gone: nothing
    owner.member.renew(partition, before)
    await until(lambda: len(owner.records) == 2, "the record again")
    assert owner.epochs[partition] == owner.records[1].epoch > before


async def test_the_broker_refuses_what_a_member_knew_before_it_gave_a_partition_back(
    rig: Rig,
) -> None:
    """Transactions rest on it: what is owned is read beside the metadata, and not locked."""
    rig.settings = rig.settings.model_copy(update={"delivery": "exactly_once"})
    rig.create(2)
    first = rig.join("n1")
    await until(lambda: first.member.membership[1] == first.epochs != {}, "a membership")
    metadata, owned = first.member.membership
    second = rig.join("n2")
    await until(lambda: len(second.epochs) == len(first.epochs) == 3, "equal shares")
    (moved, *_) = second.epochs
    assert moved in owned
    await until(lambda: first.member.membership[1] == first.epochs, "the new membership")
    servers = str(rig.settings.bootstrap_servers)
    producer = Producer({"bootstrap.servers": servers, "transactional.id": rig.lanes[0]})
    producer.init_transactions(30)
    producer.begin_transaction()
    with pytest.raises(KafkaException):
        producer.send_offsets_to_transaction([TopicPartition(*moved, 0)], metadata, 30)
    producer.abort_transaction(30)
    producer.begin_transaction()
    metadata, owned = first.member.membership
    kept = [TopicPartition(*partition, 0) for partition in owned]
    producer.send_offsets_to_transaction(kept, metadata, 30)
    producer.commit_transaction(30)


@pytest.mark.parametrize("rig", ["consumer"], indirect=True)
@pytest.mark.parametrize("members", [5, 7])
async def test_every_member_owns_something_as_long_as_there_are_partitions(
    rig: Rig, members: int
) -> None:
    rig.create(8)
    for number in range(members):
        rig.join(f"n{number}")
    await until(lambda: all(owner.epochs for owner in rig.owners), "an owner of something each")
    await rig.shared(8)


async def test_members_that_never_got_a_partition_know_who_they_are(rig: Rig) -> None:
    rig.create(1)
    rig.join("n1")
    await rig.shared(1)
    for number in range(2, 6):
        rig.join(f"n{number}")
    standing = Standing(rig.settings)

    def known() -> bool:
        ours = {owner.member.id for owner in rig.owners}
        return ours == {each.member_id for each in standing.members(rig.settings.group).members}

    await until(known, "the group's members are these")


async def test_what_is_given_back_is_committed_for_the_next_owner(rig: Rig) -> None:
    rig.create(1)
    first = rig.join("n1")
    await rig.shared(1)
    lane = (rig.lanes[0], 0)
    rig.send(lane, b"read")
    await rig.read(b"read")
    await rig.leave(first)
    second = rig.join("n2")
    await rig.shared(1)
    second.member.commit({lane: (1, "mm2:5:")})
    await until(lambda: bool(second.commits), "the commit confirmed")
    assert second.commits[0][1] is None


async def test_gated_partitions_are_not_read_and_lose_nothing(rig: Rig) -> None:
    rig.create(2)
    owner = rig.join("n1")
    await rig.shared(2)
    gated, other = (rig.lanes[0], 0), (rig.lanes[0], 1)
    for number in range(300):
        owner.member.gate([gated] if number % 3 else [])
        rig.send(gated, b"%d" % number)
    owner.member.gate([])
    await rig.read(b"299")
    assert [each.value for each in owner.records] == [b"%d" % number for number in range(300)]
    owner.member.gate([gated])
    rig.send(other, b"a mark")
    await rig.read(b"a mark")
    rig.send(gated, b"behind the gate")
    rig.send(other, b"another mark")
    await rig.read(b"another mark")
    assert b"behind the gate" not in {each.value for each in owner.records}
    owner.member.gate([])
    await rig.read(b"behind the gate")


async def test_an_idle_member_is_seen_to_fetch_by_what_librdkafka_tells(rig: Rig) -> None:
    """Nothing lies there, so no record could be old; see `reading.fetches`."""
    rig.create(2)
    owner = rig.join("n1")
    fetches, turns = owner.member.fetches, owner.member.turns
    await until(lambda: fetches.since is not None, "that something is open for reading")
    since = fetches.since or 0.0
    await until(lambda: (fetches.since or 0.0) > since + 2, "fetches that go on")
    assert owner.member.turns > turns
    owner.member.gate(owner.epochs)
    await until(lambda: fetches.since is None, "that nothing is open, and nothing missed")


async def test_a_member_knows_whether_all_that_came_was_taken_in(rig: Rig) -> None:
    rig.create(1)
    owner = rig.join("n1")
    await rig.shared(1)
    lane, member = (rig.lanes[0], 0), owner.member
    taken, member.taken = member.taken, lambda: None  # type: ignore[method-assign]
    rig.send(lane, b"not taken in yet")
    await rig.read(b"not taken in yet")
    behind_since = member.caught_up_at
    rig.send(lane, b"another")
    await rig.read(b"another")
    assert member.caught_up_at == behind_since
    taken()
    taken()
    await until(lambda: member.caught_up_at > behind_since, "the member has caught up")


@pytest.mark.row("F30")
async def test_partitions_that_are_added_are_read(rig: Rig) -> None:
    rig.create(2)
    rig.join("n1")
    await rig.shared(2)
    rig.widen(rig.lanes[1], 3)
    rig.send((rig.lanes[1], 2), b"on a new partition")
    await rig.read(b"on a new partition")


@pytest.mark.row("F30")
@pytest.mark.parametrize("rig", ["consumer"], indirect=True)
async def test_a_topic_that_is_made_anew_is_read_from_its_beginning(rig: Rig) -> None:
    rig.create(1)
    owner = rig.join("n1")
    await rig.shared(1)
    lane = (rig.lanes[2], 0)
    for _ in range(3):
        rig.send(lane, b"old")
    await until(lambda: rig.places.get(lane) == 3, "the old records read")
    rig.delete(lane[0])
    await until(lambda: lane not in owner.epochs, "the old topic revoked")
    rig.places.clear()
    rig.create(1, [lane[0]])
    rig.send(lane, b"new")
    assert (await rig.read(b"new")).offset == 0


async def test_reading_stands_still_beyond_the_log_until_it_is_told_where_to_go_on(
    rig: Rig,
) -> None:
    rig.create(2)
    deleted, other = (rig.lanes[0], 0), (rig.lanes[0], 1)
    for number in range(5):
        rig.send(deleted, b"%d" % number)
    rig.admin.delete_records([TopicPartition(*deleted, 3)])[TopicPartition(*deleted)].result(30)
    owner = rig.join("n1")
    await rig.shared(2)
    await until(lambda: ("stuck", deleted) in owner.told, "the reader said to be stuck")
    rig.send(other, b"others go on")
    await rig.read(b"others go on")
    rig.places[deleted] = 3
    owner.read({deleted: owner.epochs[deleted]})
    await rig.read(b"3")


@pytest.mark.parametrize("rig", ["consumer"], indirect=True)
async def test_a_header_name_that_is_not_utf_8_costs_only_its_record(rig: Rig) -> None:
    rig.create(1)
    owner = rig.join("n1")
    await rig.shared(1)
    lane = (rig.lanes[0], 0)
    before = [b"%d" % number for number in range(300)]
    for value in before:  # enough for the interpreter to take its fast ways
        rig.producer.produce(lane[0], value, partition=lane[1])
    assert rig.producer.flush(30) == 0
    offset = await produce_unreadable(str(rig.settings.bootstrap_servers), *lane)
    rig.send(lane, b"behind")
    await rig.read(b"behind")
    assert [each.value for each in owner.records] == [*before, b"behind"]
    assert owner.unreadable == [Unreadable(*lane, offset, owner.epochs[lane])]


async def test_a_broker_without_the_new_protocol_is_met_with_the_old(
    tmp_path: Path, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    properties = config.server_properties
    monkeypatch.setattr(
        embedded,
        "server_properties",
        lambda *arguments: (
            properties(*arguments) + "group.coordinator.rebalance.protocols=classic\n"
        ),
    )
    broker = EmbeddedBroker(tmp_path)
    broker.start()
    rig = Rig(broker.bootstrap_servers, namespace)
    try:
        rig.create(2)
        owner = rig.join("n1")
        await rig.shared(2)
        assert owner.member.protocol == "classic"
        rig.send((rig.lanes[0], 0), b"read all the same")
        await rig.read(b"read all the same")
    finally:
        await rig.close()
        broker.stop()
