"""The values of a node that are read when they are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from modelmora.agents.results import Results
from modelmora.kafka.topics import Topic
from modelmora.messages import DeviceKind
from modelmora.node.metrics import Values
from modelmora.scheduling import Device, ModelStatus

if TYPE_CHECKING:
    from modelmora.node.node import Node


def add_gauges(node: Node, results: Results) -> None:
    """Have the node's metrics tell them."""
    read = node.metrics.read
    intake, workers, late = node.intake, node.workers, node.service.listener
    shadow = Topic.SHADOW.full(node.settings.namespace)

    def requests() -> int:
        return intake.open_requests - intake.open_on(shadow)

    def oldest() -> Values:
        now_ms, ages = node.clock.now_ms(), node.requests.ages
        for topic, lane in node.lanes.items():
            at_ms = ages.oldest_ms(topic)
            yield (lane.label,), 0.0 if at_ms is None else max(0.0, now_ms - at_ms) / 1000

    read("modelmora_open_requests", requests)
    node.metrics.read_all("modelmora_oldest_request_seconds", oldest)
    read("modelmora_handed_on_total", lambda: node.hand_on.count)
    read("modelmora_retries_total", lambda: node.retries.count)
    read("modelmora_overflows_total", lambda: node.retries.overflows)
    read("modelmora_over_budget_total", lambda: node.charging.toll.count)
    read("modelmora_late_results_total", lambda: late.late_results)
    read("modelmora_open_bytes", lambda: intake.open_bytes)
    read("modelmora_gated_partitions", lambda: len(intake.gated))
    read("modelmora_unacknowledged", lambda: node.publisher.backlog)
    read("modelmora_untold", lambda: node.teller.backlog)
    read("modelmora_workers", lambda: len(workers.pids))
    read("modelmora_fresh_starts_total", lambda: workers.fresh_starts)
    read("modelmora_zygote_starts_total", lambda: workers.zygote_starts)
    read("modelmora_dead_letters_total", lambda: results.letters)
    node.service.listener.batched = node.metrics.batched
    _add_lag(node)
    _add_models(node)


def _add_lag(node: Node) -> None:
    """How far the group is behind; the namespace is left out of topics."""
    lookout, cut = node.lookout, len(node.settings.namespace) + 1

    def told(lag: Mapping[str, int]) -> Values:
        return [((topic[cut:],), float(count)) for topic, count in lag.items()]

    node.metrics.read_all("modelmora_consumer_lag", lambda: told(lookout.lag.own))
    node.metrics.read_all("modelmora_unowned_lag", lambda: told(lookout.lag.unowned))


def _add_models(node: Node) -> None:
    """What is known of models, and of the memory that they share."""
    read, status = node.metrics.read_all, node.service.status
    devices, told = node.policy.devices, node.lifecycle.told

    def waiting() -> Values:
        return [(each.key, each.waiting) for each in status()]

    def running() -> Values:
        return [(each.key, each.started) for each in status()]

    read("modelmora_model_waiting", waiting)
    read("modelmora_model_running", running)
    read("modelmora_models", lambda: states(status()))
    read("modelmora_model_memory_bytes", lambda: memory(status(), devices))
    read("modelmora_memory_held_bytes", lambda: held(status(), devices))
    budgets = [((each.label,), float(each.budget_bytes)) for each in devices]
    read("modelmora_memory_budget_bytes", lambda: budgets)
    read("modelmora_events_total", lambda: [((kind.value,), count) for kind, count in told.items()])


def states(statuses: Iterable[ModelStatus]) -> Values:
    """How many models stand where."""
    counts = Counter(each.health.state.value for each in statuses)
    return [((state,), float(count)) for state, count in counts.items()]


def memory(statuses: Iterable[ModelStatus], devices: Sequence[Device]) -> Values:
    """What each model holds of each device, where it holds any."""
    found: Counter[tuple[str, ...]] = Counter()
    machine = next(each.label for each in devices if each.kind is DeviceKind.CPU)
    for each in statuses:
        for one in each.replicas:
            found[*each.key, machine] += one.ram_bytes
            if one.gpu_bytes:
                found[*each.key, one.device] += one.gpu_bytes
    return found.items()


def held(statuses: Iterable[ModelStatus], devices: Sequence[Device]) -> Values:
    """What all of them hold of each device."""
    found = Counter({each.label: 0 for each in devices})
    for (*_, device), size in memory(statuses, devices):
        found[device] += int(size)
    return [((device,), float(size)) for device, size in found.items()]
