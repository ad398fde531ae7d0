"""Who writes what the node has to say: outcomes apart from all else."""

from __future__ import annotations

from modelmora.agents.partitions.lease import Lease
from modelmora.kafka.topics import Topic
from modelmora.kafka.writing.publisher import Publisher
from modelmora.kafka.writing.transactions import TransactionalPublisher
from modelmora.settings import Settings
from modelmora.telemetry.samples import MOST_WAITING
from modelmora.wire import Framing

PROGRESS_WAITING = 20_000


def publishers(
    settings: Settings, lease: Lease, framing: Framing | None, bearer: str
) -> tuple[Publisher | TransactionalPublisher, Publisher]:
    """The one for outcomes, which waits for the lease or needs none, and that for all else."""
    bounds = {Topic.PROGRESS: PROGRESS_WAITING, Topic.METRICS: MOST_WAITING}
    waiting = {topic.full(settings.namespace): most for topic, most in bounds.items()}
    outcomes: Publisher | TransactionalPublisher
    if settings.delivery == "exactly_once":
        outcomes = TransactionalPublisher(settings, bearer, framing=framing)
    else:
        timeout_s = lease.write_s
        outcomes = Publisher(
            settings, timeout_s=timeout_s, framing=framing, may_publish=lease.holds
        )
    return outcomes, Publisher(settings, framing=framing, drop_oldest=waiting)
