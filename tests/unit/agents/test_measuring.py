"""What a node has learned: when it is told, and that its next start begins with it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest

from modelmora.agents.models.measuring import ANEW_S, EVERY_S, KEPT_S, Measuring
from modelmora.messages import DeviceKind, RegistryKind, RegistryRecord
from modelmora.records import Registry, key_of
from modelmora.records.measured import Measured, Taken, of_model, told
from modelmora.scheduling import Need
from modelmora.testing.fakes import FakeSender, FakeTime
from modelmora.wire import decode_registry
from tests.unit.agents.test_models import Desk

KEY = ("m", "1")
MODEL = RegistryRecord(RegistryKind.MODEL, *KEY, "echo", "builtin:echo", "n1")


def of(ram: int, mark: str = "a") -> Measured:
    return Measured(mark, {DeviceKind.CPU: Taken({0: (ram, 0)})}, 100.0)


class Bench:
    """One or more nodes over one log, whose clock obeys the test."""

    def __init__(self, *names: str) -> None:
        self.state = Registry()
        self.time = FakeTime()
        self.offset = 0
        self.hear(key_of(MODEL), MODEL)
        self.senders = {name: FakeSender() for name in names}
        self.nodes = {
            name: Measuring(
                self.state, sender, "ns", name.rstrip("0123456789"), self.time, self.time
            )
            for name, sender in self.senders.items()
        }

    def hear(self, key: bytes, record: RegistryRecord | None) -> None:
        self.state.take(key, record, self.offset)
        self.offset += 1

    def told(
        self,
        name: str,
        measured: Measured,
        living: Collection[str] | None = None,
        *,
        last: bool = False,
    ) -> int:
        """How many records it writes, which are read back."""
        sender = self.senders[name]
        sender.sent.clear()
        self.nodes[name].tell({KEY: measured}, living, last=last)
        for each in sender.sent:
            self.hear(each.key or b"", decode_registry(each.value) if each.value else None)
        return len(sender.sent)


def test_it_is_told_where_it_has_changed_and_not_too_often() -> None:
    bench = Bench("n")
    assert [bench.told("n", of(ram)) for ram in (1000, 1000, 1050, 9000)] == [1, 0, 0, 0]
    bench.time.now += EVERY_S
    assert [bench.told("n", of(ram)) for ram in (1050, 9000, 9000)] == [0, 1, 0]
    assert [bench.told("n", of(20_000)), bench.told("n", of(20_000), last=True)] == [0, 1]


def test_what_was_told_goes_with_its_model() -> None:
    bench = Bench("n")
    bench.told("n", of(1000))
    retired = replace(MODEL, present=False, based_on=0)
    bench.hear(key_of(retired), retired)
    bench.time.now += EVERY_S
    assert bench.told("n", of(9000)) == 1
    assert [*of_model(bench.state, KEY)] == []
    assert bench.told("n", of(9000)) == 0


def test_what_nodes_have_told_that_are_long_gone_is_taken_away_by_one() -> None:
    bench = Bench("n", "gone", "1")
    for name in ("n", "gone", "1"):
        bench.told(name, of(1000))
    bench.time.now += KEPT_S - 1
    assert bench.told("n", of(1000), {"n"}) == 1, "that it still is so"
    assert {node for node, _ in of_model(bench.state, KEY)} == {"", "gone", "n"}
    bench.time.now += EVERY_S
    assert bench.told("n", of(1000)) == 0, "another clears up"
    assert bench.told("n", of(1000), {"n", "gone"}) == 0, "it runs"
    bench.time.now += EVERY_S
    assert bench.told("n", of(1000), {"n"}) == 1
    assert {node for node, _ in of_model(bench.state, KEY)} == {"", "n"}


def test_what_others_have_told_goes_with_its_model_too() -> None:
    bench = Bench("n", "gone")
    bench.told("gone", of(1000))
    retired = replace(MODEL, present=False, based_on=0)
    bench.hear(key_of(retired), retired)
    assert bench.told("n", of(1000)) == 0
    assert bench.told("n", of(1000), {"n", "gone"}) == 1
    assert [*of_model(bench.state, KEY)] == []


def test_what_stays_so_is_told_again_now_and_then() -> None:
    bench = Bench("n")
    assert bench.told("n", of(1000)) == 1
    bench.time.now += ANEW_S
    assert bench.told("n", of(1000)) == 0
    bench.time.now += 1
    assert [bench.told("n", of(1000)), bench.told("n", of(1000))] == [1, 0]


def test_nodes_that_share_a_name_do_not_correct_each_other() -> None:
    bench = Bench("1", "2")
    told_of = []
    for _ in range(4):
        told_of += [bench.told("1", of(1000)), bench.told("2", of(3000))]
        bench.time.now += EVERY_S
    assert told_of == [1, 1, 0, 0, 0, 0, 0, 0]
    assert dict(of_model(bench.state, KEY)) == {"": of(3000)}


async def test_the_next_start_reserves_what_was_measured(tmp_path: Path) -> None:
    before = Desk(tmp_path)
    before.install("m")
    before.refresh()
    spec = before.service.catalogue.specs[KEY]
    assert spec.known is None
    measured = Measured(spec.mark, {DeviceKind.CPU: Taken({0: (777 << 20, 0)}, 32)}, 1234.0)
    entries = [each.record for each in before.models.state.entries.values()]

    after = Desk(tmp_path)
    after.hear(*entries, told(KEY, "", measured))
    after.refresh()
    model = after.service._scheduler._fleet.models[KEY]
    assert model.need(DeviceKind.CPU) == Need(777 << 20)
    assert model.load_ms == 1234.0
    assert model.learned[DeviceKind.CPU].safe_cost == 32
    assert after.service.measured()[KEY] == measured

    path = after.install("m", more="options: {other: 1}\n")
    path.touch()
    after.refresh()
    assert after.service.catalogue.specs[KEY].known is None, "it was measured of another"


@pytest.mark.parametrize("gib", [1, 1 << 20])
async def test_what_was_measured_before_alone_forbids_no_load(tmp_path: Path, gib: int) -> None:
    desk = Desk(tmp_path)
    desk.install("m")
    desk.refresh()
    mark = desk.service.catalogue.specs[KEY].mark
    after = Desk(tmp_path)
    after.hear(told(KEY, "", Measured(mark, {DeviceKind.CPU: Taken({0: (gib << 30, 0)})})))
    after.refresh()
    assert not after.service.standing()["m@1"].health.hopeless
    assert bool(after.service.measured()) is (gib == 1)


async def test_the_first_of_the_nodes_that_run_clears_up(tmp_path: Path) -> None:
    lease = RegistryRecord(RegistryKind.NODE, "", "", "", "", "", lease_ms=60_000)
    for writer, clears in (("n1", True), ("n2", False)):
        desk = Desk(tmp_path, writer)
        desk.refresh()
        desk.hear(told(("no-more", "1"), "gone", of(1000)))
        for name in ("n1", "n2"):
            node = replace(lease, name=name)
            desk.models.declaring.leases.take(key_of(node), node, 1)
        desk.refresh()
        buried = [each.key for each in desk.sender.sent if not each.value]
        assert buried == ([b"MEASURED:no-more@1:gone"] if clears else [])
