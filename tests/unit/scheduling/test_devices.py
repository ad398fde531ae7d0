"""Where replicas go: devices with budgets of their own, and what a replica takes of each."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from modelmora.messages import DeviceKind, State
from modelmora.scheduling import Device, KillReason, ModelKey, Need, Policy, ram
from modelmora.scheduling.device import Learned
from modelmora.scheduling.ledger import Ledger
from modelmora.scheduling.placement import Option, choose, combined
from modelmora.scheduling.residency import Plan, Verdict
from modelmora.scheduling.state import Model, Replica
from tests.unit.scheduling.world import MIB, SIZE, A, B, C, World, spec

CPU, CUDA = DeviceKind.CPU, DeviceKind.CUDA
GPU0 = Device("GPU-0", CUDA, 10 * SIZE, "cuda:0")
GPU1 = Device("GPU-1", CUDA, 11 * SIZE, "cuda:1")
NOW, SOON, LATER, NEVER = (Plan(verdict) for verdict in Verdict)
TAKES = Need(ram=SIZE, gpu=6 * SIZE)
TWO = Policy(budget_bytes=10 * SIZE, gpus=(GPU0, GPU1))


def option(
    device: Device, plan: Plan, *, free: int = 0, before: bool = False, loss: float = 0
) -> Option:
    return Option(device, TAKES, plan, loss, free, before)


def add(world: World, *keys: ModelKey, on: tuple[DeviceKind, ...] = (CUDA, CPU)) -> None:
    """Models that take 6 of a GPU and 1 of RAM, or 1 of RAM alone."""
    for key in keys:
        one = replace(spec(key), devices=on, declared=TAKES)
        world.scheduler.add_model(one, world.now)


def where(world: World, key: ModelKey) -> str:
    return world.child(key).place.device.label


def test_the_first_kind_that_could_ever_hold_a_model_takes_it() -> None:
    cpu = option(ram(SIZE), NOW)
    assert choose([option(GPU0, LATER), cpu]).device is GPU0
    assert choose([option(GPU0, NEVER), cpu]) is cpu
    assert choose([option(GPU0, NEVER), option(ram(1), NEVER)]).plan is NEVER


def test_of_several_devices_the_one_with_room_then_the_former_then_the_emptiest_is_taken() -> None:
    assert choose([option(GPU0, SOON), option(GPU1, NOW)]).device is GPU1
    one, two = Plan(Verdict.SOON, (1,)), Plan(Verdict.SOON, (2, 3))
    assert choose([option(GPU0, two), option(GPU1, one)]).device is GPU1
    assert choose([option(GPU0, one, loss=7), option(GPU1, two, loss=5)]).device is GPU1
    assert choose([option(GPU0, NOW, before=True), option(GPU1, NOW, free=9)]).device is GPU0
    assert choose([option(GPU0, NOW, free=8), option(GPU1, NOW, free=9)]).device is GPU1


def test_a_replica_that_takes_of_two_memories_needs_room_in_both() -> None:
    assert combined([NOW, NOW]) == NOW
    assert combined([Plan(Verdict.SOON, (1, 2)), NOW, Plan(Verdict.SOON, (2, 3))]) == Plan(
        Verdict.SOON, (1, 2, 3)
    )
    assert combined([Plan(Verdict.SOON, (1,)), LATER]) == LATER
    assert combined([NOW, NEVER]) == NEVER


def test_models_spread_over_the_gpus_and_the_third_makes_room_on_one() -> None:
    world = World(TWO)
    add(world, A, B, C)
    for key in (A, B):
        world.send(key)
        world.loaded(key)
        world.now += 1
        world.finish(key)
    assert (where(world, A), where(world, B)) == ("cuda:1", "cuda:0")
    world.send(C)
    assert world.loads == [A, B]
    world.exit(A)
    assert where(world, C) == "cuda:1"


@given(
    st.lists(
        st.tuples(
            st.sampled_from([ram(10), GPU0, GPU1]),
            st.builds(Need, st.integers(1, 11), st.integers(0, 12)),
            st.booleans(),
            st.sampled_from([State.LOADING, State.READY, State.DRAINING, State.LEAVING]),
        ),
        max_size=4,
    ),
    st.builds(Need, st.integers(1, 12), st.integers(1, 12)),
    st.sampled_from([(CPU,), (CUDA,), (CUDA, CPU)]),
    st.integers(0, 2),
)
def test_what_never_fits_is_what_is_never_placed(
    held: list[tuple[Device, Need, bool, State]],
    need: Need,
    kinds: tuple[DeviceKind, ...],
    gpus: int,
) -> None:
    small = tuple(replace(one, budget_bytes=n) for one, n in ((GPU0, 10), (GPU1, 11)))
    replicas = {
        i: Replica(i, Model(spec(B), pinned=pinned), device, takes, 0.0, state)
        for i, (device, takes, pinned, state) in enumerate(held)
    }
    ledger = Ledger(replicas, Policy(budget_bytes=10, gpus=small[:gpus]))
    model = Model(replace(spec(A), devices=kinds, declared=need))
    assert ledger.fits(model) is (ledger.place(model, 0.0).plan.verdict is not Verdict.NEVER)


def test_the_ram_of_models_on_gpus_counts() -> None:
    world = World(replace(TWO, budget_bytes=SIZE + MIB))
    add(world, A, B)
    world.send(A)
    world.loaded(A)
    world.finish(A)
    world.wait(1)
    world.send(B)
    assert world.child(A).killed is KillReason.ROOM
    world.exit(A)
    assert world.loads == [A, B]


def test_without_a_gpu_a_model_runs_on_the_cpu_or_is_told_what_it_lacks() -> None:
    world = World(Policy(budget_bytes=10 * SIZE))
    add(world, A)
    add(world, B, on=(CUDA,))
    world.send(A)
    assert where(world, A) == "cpu"
    refused = world.send(B)
    assert world.outcome(refused) == "cannot_be_served"
    assert "of a GPU, which this node does not have" in world.error(refused).message


def test_a_model_returns_to_the_gpu_that_it_was_on() -> None:
    world = World(TWO)
    add(world, A, B)
    world.send(A)
    world.loaded(A)
    world.send(B)
    world.loaded(B)
    assert (where(world, A), where(world, B)) == ("cuda:1", "cuda:0")
    world.finish(B)
    world.scheduler.unload(B, world.now)
    world.exit(B)
    world.finish(A)
    world.scheduler.unload(A, world.now)
    world.exit(A)
    world.send(B)
    assert where(world, B) == "cuda:0"


def test_what_was_measured_on_a_device_replaces_the_estimate_there() -> None:
    world = World(replace(TWO, gpus=(GPU0,)))
    add(world, A, B)
    world.send(A)
    world.scheduler.on_loaded(world.replica(A), 10.0, Need(SIZE // 2, 2 * SIZE), world.now)
    (status, _) = world.scheduler.status(world.now)
    assert [(one.device, one.ram_bytes, one.gpu_bytes) for one in status.replicas] == [
        ("cuda:0", SIZE // 2, 2 * SIZE)
    ]
    world.send(B)
    assert world.loads == [A, B]


def test_what_the_driver_does_not_tell_stays_estimated() -> None:
    world = World(TWO)
    add(world, A)
    world.send(A)
    world.scheduler.on_loaded(world.replica(A), 10.0, Need(SIZE // 2), world.now)
    (status,) = world.scheduler.status(world.now)
    assert (status.replicas[0].ram_bytes, status.replicas[0].gpu_bytes) == (SIZE // 2, 6 * SIZE)


def test_the_batch_that_fits_is_told_to_the_next_replica() -> None:
    world = World(TWO)
    add(world, A)
    world.send(A)
    world.loaded(A)
    assert world.child(A).place.safe_cost is None
    world.scheduler.on_memory(world.replica(A), Need(SIZE, SIZE), world.now, 900, 500)
    world.finish(A)
    world.scheduler.unload(A, world.now)
    world.exit(A)
    world.send(A)
    assert world.child(A).place.safe_cost == 500


def test_a_model_whose_batch_took_more_than_there_is_is_served_in_smaller_ones() -> None:
    world = World(Policy(budget_bytes=2 * SIZE))
    world.serve(A)
    world.scheduler.on_memory(world.replica(A), Need(3 * SIZE), world.now, cost=50)
    assert world.child(A).killed is KillReason.ROOM, "it holds too much still"
    world.exit(A)
    work = world.send(A)
    assert world.child(A).place.safe_cost == 32
    world.loaded(A)
    world.finish(A)
    assert world.outcome(work) == "answered"


def test_what_a_child_holds_that_its_model_does_not_need_counts_and_is_not_learned() -> None:
    world = World(Policy(budget_bytes=2 * SIZE))
    world.serve(A)
    world.scheduler.on_memory(world.replica(A), Need(3 * SIZE), world.now, None, 40)
    assert world.child(A).killed is KillReason.ROOM
    world.exit(A)
    world.send(A)
    place = world.child(A).place
    assert (place.need, place.safe_cost) == (Need(SIZE), 40)


def test_what_a_child_of_former_files_holds_is_not_learned_of_the_new() -> None:
    world = World(Policy(budget_bytes=4 * SIZE))
    world.serve(A)
    work = world.send(A)
    world.scheduler.add_model(replace(spec(A), files="new", mark="new"), world.now)
    old = world.replica(A)
    world.scheduler.on_memory(old, Need(3 * SIZE), world.now, 64, 32)
    (status,) = world.scheduler.status(world.now)
    assert status.bytes == 3 * SIZE
    assert world.scheduler.measured() == {}
    world.finish(A)
    world.exit(A)
    assert world.outcome(work) == "answered"
    world.send(A)
    place = world.child(A).place
    assert (place.need, place.safe_cost) == (Need(SIZE), None)
    world.loaded(A, private_bytes=SIZE // 2)
    assert world.scheduler.measured()[A].mark == "new"


def test_a_model_that_takes_more_than_there_is_for_one_request_is_refused() -> None:
    world = World(Policy(budget_bytes=2 * SIZE))
    world.serve(A)
    world.scheduler.on_memory(world.replica(A), Need(3 * SIZE), world.now, cost=1)
    world.exit(A)
    assert world.outcome(world.send(A)) == "cannot_be_served"


def test_a_peak_of_a_batch_that_is_not_tried_again_is_not_reserved() -> None:
    learned = Learned()
    assert learned.need == Need(0)
    learned.see(Need(10))
    learned.see(Need(30), cost=100)
    learned.see(Need(90), cost=1000)
    assert learned.need == Need(90)
    learned.limit(500)
    assert learned.need == Need(30)
    learned.see(Need(40), cost=120)
    assert learned.need == Need(40)
    learned.limit(2000)
    assert learned.safe_cost == 500
