"""Looks at the group and its lanes from outside, as somebody who waits for an answer would."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog
from confluent_kafka import KafkaException

from modelmora.agents.partitions.takeover import Partitions
from modelmora.errors import Unreachable
from modelmora.kafka.group import Member
from modelmora.kafka.reading.standing import Standing
from modelmora.kafka.topics import read_topics
from modelmora.node.lag import Lag, lag
from modelmora.node.path import Look, Path, look
from modelmora.settings import Settings

log = structlog.get_logger(__name__)
LOOK_S = 1.0
EXIT_CODE = 70
"""The node cannot go on, and is to be started anew."""
TWIN_EXIT_CODE = 2


class Lookout:
    """Says when this node has joined, and ends it where only a new process helps."""

    def __init__(
        self,
        settings: Settings,
        name: str,
        partitions: Partitions,
        member: Member,
        standing: Standing,
        fail: Callable[[str, int], None],
    ) -> None:
        self.path = Path(name, settings.timing.session_timeout_s)
        self.lag = Lag()
        self._topics = frozenset(read_topics(settings))
        self._settings = settings
        self._partitions = partitions
        self._member = member
        self._standing = standing
        self._fail = fail

    async def run(self) -> None:
        """Look again and again."""
        partitions, topics = self._partitions, self._topics
        while True:
            own = partitions.intake.partitions()
            try:
                seen = await partitions.ask(look, self._standing, self._settings.group, topics, own)
                self._judge(seen)
                await self._look_closer(seen)
                if (
                    self._member.protocol == "classic"
                ):  # the other one takes it away and gives it back
                    logs = self._standing.logs
                    partitions.on_logs(await partitions.ask(logs, {topic for topic, _ in own}))
            except (KafkaException, Unreachable) as error:
                self.path.unheard(time.monotonic())
                log.debug("could not look at the group", error=str(error))
            await asyncio.sleep(LOOK_S)

    def _judge(self, seen: Look) -> None:
        now, intake, path = time.monotonic(), self._partitions.intake, self.path
        ledgers = {p: ledger for p in intake.partitions() if (ledger := intake.ledger(p))}
        own = {p: ledger.next for p, ledger in ledgers.items()}
        self.lag = lag(seen, {p: ledger.head for p, ledger in ledgers.items()}, self._topics)
        behind = self._member.caught_up_at < (path.saw_at or 0.0)
        path.saw(seen, self._member.id, own, intake.gated, now, behind=behind)
        if path.on_standby:
            self._partitions.settled.set()
        if path.is_twin(now):
            self._fail(
                f"another node runs as {path.name}: was its data folder copied? "
                "Give one of them another member_id, or start it with --dynamic-member",
                TWIN_EXIT_CODE,
            )

    async def _look_closer(self, seen: Look) -> None:
        """Partitions of ours that seem stuck: records, or only marks of transactions?

        Asked long before it counts, so that marks make no node unwell.
        """
        now, limit = time.monotonic(), self._settings.timing.watchdog_s
        intake, unread = self._partitions.intake, self.path.unread
        old = (each for each, at in unread.items() if now - at > limit / 3)
        since = {each: at for each in old if (at := intake.next_offset(each)) is not None}
        if not since:
            return
        try:
            waiting = await self._partitions.ask(self._standing.waiting, since)
        except Unreachable:
            # Nobody of this process is given records, though the broker says where they end.
            waiting, limit = {*since}, 2 * limit
        for partition, offset in since.items():
            if intake.next_offset(partition) != offset:
                continue  # it moves, or is not ours any more
            if partition not in waiting:
                self.path.read(partition, seen.bounds[partition][1])
            elif time.monotonic() - unread[partition] > limit:
                reason = f"nothing is read from {partition[0]} {partition[1]}, records wait"
                self._fail(reason, EXIT_CODE)
