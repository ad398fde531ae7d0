"""The values of a node that are read when they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelmora.kafka.topics import Topic

if TYPE_CHECKING:
    from modelmora.node.node import Node


def add_gauges(node: Node) -> None:
    """Have the node's metrics tell them."""
    gauge = node.metrics.gauge
    intake, workers, late = node.intake, node.workers, node.service.listener
    shadow = Topic.SHADOW.full(node.settings.namespace)

    def requests() -> int:
        return intake.open_requests - intake.open_on(shadow)

    gauge("modelmora_open_requests", "Read and not answered.", requests)
    gauge("modelmora_handed_on_total", "To other nodes.", lambda: node.hand_on.count)
    gauge("modelmora_retries_total", "Put off after a failure.", lambda: node.retries.count)
    gauge("modelmora_overflows_total", "Put off for the line.", lambda: node.retries.overflows)
    gauge("modelmora_over_budget_total", "Put off over a budget.", lambda: node.charging.toll.count)
    gauge("modelmora_late_results_total", "Computed for nobody.", lambda: late.late_results)
    gauge("modelmora_open_bytes", "Bytes of those.", lambda: intake.open_bytes)
    gauge("modelmora_gated_partitions", "Full partitions.", lambda: len(intake.gated))
    gauge("modelmora_unacknowledged", "Outcomes to write.", lambda: node.publisher.backlog)
    gauge("modelmora_untold", "Progress and events to write.", lambda: node.teller.backlog)
    gauge("modelmora_workers", "Child processes.", lambda: len(workers.pids))
    gauge("modelmora_fresh_starts_total", "Not forked.", lambda: workers.fresh_starts)
    gauge("modelmora_zygote_starts_total", "Zygotes started.", lambda: workers.zygote_starts)
