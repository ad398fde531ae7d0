"""Requests, kills at random moments, and the checker's verdict over all that is left."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import KafkaException

from modelmora.broker import EmbeddedBroker
from tests.checker import Sampler, Verdict, gather, judge, read_ids
from tests.checker.reading import Cluster, request_topics
from tests.foreign import LANES, Broken, Draft, Foreign, draft
from tests.nodes import NodeProcess
from tests.programs import eventually

NAMESPACE = "modelmora"
GROUP = f"{NAMESPACE}.nodes"
GROUP_REQUESTS = 16
MODELS = 3
# Outcomes between two commits (0.2 s), with room for a machine that is busy with other things.
NEWER_THAN_A_COMMIT = 300
CAP_S = 240.0
PAUSE_S = 0.4


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is sent and what is killed how often; the seed decides everything else."""

    requests: int = 5000
    child: int = 50
    zygote: int = 3
    node: int = 10
    broker: int = 3
    seed: int = 1
    nodes: int = 1

    @property
    def kills(self) -> list[str]:
        """What is killed, in the order of killing."""
        counts = {
            "child": self.child,
            "zygote": self.zygote,
            "node": self.node,
            "broker": self.broker,
        }
        order = [name for name, count in counts.items() for _ in range(count)]
        random.Random(self.seed).shuffle(order)
        return order

    @property
    def allowed_repeats(self) -> int:
        """Started work and outcomes newer than the last commit, for each crash that loses them."""
        started = 2 * GROUP_REQUESTS * MODELS
        return (self.node + self.broker) * (started + NEWER_THAN_A_COMMIT)


@dataclass(slots=True)
class Report:
    """What came of it."""

    plan: Plan
    verdict: Verdict
    seconds: float
    missed_samples: int
    killed: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        counts = " ".join(f"{name}={count}" for name, count in self.verdict.counts.items())
        killed = " ".join(f"{name}={count}" for name, count in sorted(self.killed.items()))
        return f"faults seed={self.plan.seed} {self.seconds:.0f} s killed: {killed}; {counts}"


class Programme:
    """One run in one folder; everything it starts has ended when `run` returns."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.ids = folder / "ids.jsonl"
        self._chance = random.Random(plan.seed)
        self._broker = EmbeddedBroker(folder)
        self._folder = folder
        self._killed: dict[str, int] = {}
        self._sent = 0

    def run(self) -> Report:
        """Send, kill, wait for the end of the work, and judge."""
        began = time.monotonic()
        self._broker.start()
        try:
            with ExitStack() as stack:
                self._nodes = [stack.enter_context(node) for node in self._made()]
                sampler = stack.enter_context(self._sampler())
                self._send_and_kill()
                eventually(self._all_committed, "all requests committed", CAP_S)
                for node in self._nodes:
                    assert node.stop() == 0, node.tail()
            evidence = gather(
                self._broker.bootstrap_servers,
                GROUP,
                NAMESPACE,
                read_ids(self.ids),
                samples=sampler.samples,
                allowed_repeats=self.plan.allowed_repeats,
            )
        finally:
            self._broker.stop()
        seconds = time.monotonic() - began
        return Report(self.plan, judge(evidence), seconds, sampler.missed, self._killed)

    def _made(self) -> Iterator[NodeProcess]:
        settings = {"LIMITS__GROUP_REQUESTS": GROUP_REQUESTS}
        servers = self._broker.bootstrap_servers
        for number in range(1, self.plan.nodes + 1):
            yield NodeProcess(servers, NAMESPACE, self._folder, f"n{number}", settings)

    def _sampler(self) -> Sampler:
        return Sampler(self._broker.bootstrap_servers, GROUP, NAMESPACE)

    def _send_and_kill(self) -> None:
        kills = self.plan.kills
        slices = len(kills) + 1
        with Foreign(self._broker.bootstrap_servers, self.ids) as foreign:
            for number, kill in enumerate([*kills, None]):
                upto = self.plan.requests * (number + 1) // slices
                for index in range(self.plan.requests * number // slices, upto):
                    foreign.send(self._chance.choice(LANES), self._draft(index))
                if kill:
                    self._kill(kill, foreign)
            foreign.flush(CAP_S)

    def _draft(self, index: int) -> Draft:
        broken = list(Broken)[index // 10 % len(Broken)] if index % 10 == 0 else None
        text = [f"input {index}"]
        if self._chance.random() < 0.5:
            return draft("echo", text, broken=broken)
        ms = self._chance.choice((0.0, 2.0, 10.0, 30.0))
        return draft("sleep", text, {"ms": ms}, broken=broken)

    # Killing -------------------------------------------------------------------------------------

    def _kill(self, what: str, foreign: Foreign) -> None:
        """Kill it at some moment of its work; what takes no time here is started again."""
        self._keep_nodes()
        foreign.flush(CAP_S)
        time.sleep(self._chance.random() * PAUSE_S)
        node = self._chance.choice(self._nodes)
        if what == "child":
            eventually(lambda: self._kill_child(foreign), "a child to kill", CAP_S)
        elif what == "zygote":
            eventually(lambda: self._kill_zygote(node), "another zygote", CAP_S)
        elif what == "node":
            node.kill()
            node.start()
        else:
            self._broker.kill()
            time.sleep(self._chance.random() * PAUSE_S)
            self._broker.start()
        self._killed[what] = self._killed.get(what, 0) + 1

    def _kill_child(self, foreign: Foreign) -> bool:
        """Kill the process of a model that works; where none does, one is given some work."""
        self._keep_nodes()
        rows = [row for node in self._nodes for _, row in sorted(node.models().items())]
        busy = [row["pid"] for row in rows if row["pid"] and row["running"] + row["waiting"]]
        if not busy:
            foreign.send("normal", draft("sleep", ["for a kill"], {"ms": 50.0}))
            foreign.flush(CAP_S)
            busy = [row["pid"] for row in rows if row["pid"]]
        try:
            os.kill(self._chance.choice(busy), signal.SIGKILL)
        except (IndexError, ProcessLookupError):
            return False
        return True

    def _kill_zygote(self, node: NodeProcess) -> bool:
        """Kill it and wait for the next one; False where there was none."""
        zygote = node.zygote
        if zygote is None:
            return False
        try:
            os.kill(zygote, signal.SIGKILL)
        except ProcessLookupError:
            return False
        eventually(lambda: node.zygote not in (None, zygote), "another zygote", CAP_S)
        return True

    def _keep_nodes(self) -> None:
        """What the host's supervisor does: start a node again when it has ended."""
        for node in self._nodes:
            eventually(lambda node=node: self._keep(node), "a node that is ready", CAP_S)  # type: ignore[misc]

    def _keep(self, node: NodeProcess) -> bool:
        if not node.running:
            self._killed["ended by itself"] = self._killed.get("ended by itself", 0) + 1
            node.start()
        return node.ready(1.0)

    def _all_committed(self) -> bool:
        self._keep_nodes()
        topics = request_topics(NAMESPACE)
        try:
            with closing(Cluster(self._broker.bootstrap_servers, GROUP)) as cluster:
                ends, committed = cluster.ends(topics), cluster.committed(topics)
        except (KafkaException, TimeoutError):
            return False
        return bool(ends) and all(committed.get(p, 0) >= end for p, end in ends.items())


def run(plan: Plan, folder: Path) -> Report:
    """Run a programme; its seed is printed first, its summary last."""
    sys.stdout.write(f"faults: {plan}\n")
    sys.stdout.flush()
    report = Programme(plan, folder).run()
    for violation in report.verdict.violations:
        sys.stdout.write(f"{violation}\n")
    sys.stdout.write(f"{report}\n")
    sys.stdout.flush()
    return report
