"""Requests, faults at random moments, and the checker's verdict over all that is left."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from confluent_kafka import KafkaException

from modelmora.broker import EmbeddedBroker
from tests.checker import Delivery, Fault, Sampler, Told, Verdict, gather, judge, read_ids
from tests.checker.reading import Cluster
from tests.faults.callers import Callers
from tests.faults.plan import Part, Plan, Strike
from tests.foreign import LANES, Broken, Foreign, draft
from tests.nodes import GatewayProcess, NodeProcess, frozen
from tests.programs import alive, eventually

NAMESPACE = "modelmora"
GROUP = f"{NAMESPACE}.nodes"
GROUP_REQUESTS = 16
MODELS = 2
KEYS = 16
REST_SHARE = 0.1
# Shorter than a long freeze: what a frozen node holds then expires, unless another has it.
TIMEOUTS_MS = (None, None, 10_000)
BACKLOG, BACKLOG_MS = 60, 50.0
CAP_S = 240.0
PAUSE_S = 0.4


@dataclass(slots=True)
class Report:
    """What came of it; `struck` counts by words such as "node killed"."""

    plan: Plan
    verdict: Verdict
    seconds: float
    struck: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        counts = " ".join(f"{name}={count}" for name, count in self.verdict.counts.items())
        struck = ", ".join(f"{name} {count}" for name, count in sorted(self.struck.items()))
        plan = f"seed={self.plan.seed} nodes={self.plan.nodes} {self.plan.delivery}"
        return f"faults {plan} {self.seconds:.0f} s: {struck}; {counts}"


class Programme:
    """One run in one folder; everything it starts has ended when `run` returns."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.ids = folder / "ids.jsonl"
        self._chance = random.Random(plan.seed)
        self._broker = EmbeddedBroker(folder)
        self._folder = folder
        self._struck: Counter[str] = Counter()
        self._faults: list[Fault] = []
        self._sent = 0

    def run(self) -> Report:
        """Send, strike, wait for the end of the work, and judge."""
        began = time.monotonic()
        self._broker.start()
        try:
            with ExitStack() as stack:
                self._start(stack)
                sampler = stack.enter_context(self._sampler())
                self._foreign = stack.enter_context(
                    Foreign(self._broker.bootstrap_servers, self.ids)
                )
                self._send_and_strike()
                told = self._callers.told()
                eventually(self._all_committed, "all requests committed", CAP_S)
                for node in self._nodes:
                    assert node.stop() == 0, node.tail()
            verdict = self._judge(sampler, told)
        finally:
            self._broker.stop()
        return Report(self.plan, verdict, time.monotonic() - began, self._struck)

    def _judge(self, sampler: Sampler, told: tuple[Told, ...]) -> Verdict:
        evidence = gather(
            self._broker.bootstrap_servers,
            GROUP,
            NAMESPACE,
            read_ids(self.ids),
            samples=sampler.samples,
            faults=tuple(self._faults),
            told=told,
            delivery=self.plan.delivery,
        )
        return judge(evidence)

    def _start(self, stack: ExitStack) -> None:
        """Nodes side by side, then the gateway and its callers."""
        servers = self._broker.bootstrap_servers
        self._nodes = list(self._made())
        for node in self._nodes:
            stack.push(node.__exit__)
            node.start()
        for node in self._nodes:
            node.wait_ready(CAP_S)
        self._gateway = stack.enter_context(GatewayProcess(servers, NAMESPACE, self._folder))
        self._callers = stack.enter_context(Callers(self._gateway.http))

    def _made(self) -> Iterator[NodeProcess]:
        settings: dict[str, object] = {"LIMITS__GROUP_REQUESTS": GROUP_REQUESTS}
        if self.plan.delivery is Delivery.EXACTLY_ONCE:
            settings["DELIVERY"] = self.plan.delivery
        servers = self._broker.bootstrap_servers
        for number in range(1, self.plan.nodes + 1):
            yield NodeProcess(servers, NAMESPACE, self._folder, f"n{number}", settings)

    def _sampler(self) -> Sampler:
        return Sampler(self._broker.bootstrap_servers, GROUP, NAMESPACE)

    # Sending -------------------------------------------------------------------------------------

    def _send_and_strike(self) -> None:
        strikes = self.plan.strikes
        each = self.plan.requests // (len(strikes) + 1)
        for strike in strikes:
            self._keep_nodes()
            self._send(each)
            self._strike(strike)
        self._send(self.plan.requests - self._sent)
        self._foreign.flush(CAP_S)

    def _send(self, count: int) -> None:
        for _ in range(count):
            self._send_one(self._sent)
            self._sent += 1

    def _send_one(self, index: int) -> None:
        """To a topic, or through the gateway; under keys that spread a model over the nodes."""
        lane, text = self._chance.choice(LANES), [f"input {index}"]
        model = self._chance.choice(("echo", "sleep"))
        ms = self._chance.choice((0.0, 2.0, 10.0, 30.0))
        parameters = {"ms": ms} if model == "sleep" else {}
        timeout_ms = self._chance.choice(TIMEOUTS_MS)
        if self._chance.random() < REST_SHARE:
            body = {"inputs": text, "parameters": parameters, "priority": lane}
            self._callers.ask(model, body | ({"timeout_ms": timeout_ms} if timeout_ms else {}))
            return
        broken = list(Broken)[index // 10 % len(Broken)] if index % 10 == 0 else None
        made = draft(model, text, parameters, broken=broken, timeout_ms=timeout_ms)
        self._foreign.send(lane, replace(made, key=b"%d" % self._chance.randrange(KEYS)))

    def _pile_up(self) -> None:
        """More than can be done at once, so that whatever is frozen holds work."""
        for number in range(BACKLOG):
            made = draft("sleep", [f"pile {number}"], {"ms": BACKLOG_MS}, timeout_ms=10_000)
            self._foreign.send("normal", replace(made, key=b"%d" % (number % KEYS)))

    # Striking ------------------------------------------------------------------------------------

    def _strike(self, strike: Strike) -> None:
        """At some moment of its work; what has ended is started again."""
        self._foreign.flush(CAP_S)
        if strike.frozen_s is not None:
            self._pile_up()
        time.sleep(self._chance.random() * PAUSE_S)
        node = self._chance.choice(self._nodes)
        what = f"{strike.part} {'killed' if strike.frozen_s is None else 'frozen'}"
        if strike.part in (Part.NODE, Part.BROKER):
            self._note(f"{what} (number {self._struck[what] + 1})")
        if strike.frozen_s is None:
            self._kill(strike.part, node)
        else:
            self._freeze(strike, node)
        self._struck[what] += 1

    def _note(self, what: str) -> None:
        """A fault that may repeat work: two groups of each replica, taken away and given back."""
        moves = 1 if self.plan.nodes == 1 else 2 * self.plan.nodes
        self._faults.append(Fault(what, time.time(), 2 * GROUP_REQUESTS * MODELS * moves))

    def _kill(self, part: Part, node: NodeProcess) -> None:
        if part is Part.CHILD:
            eventually(self._kill_child, "a child to kill", CAP_S)
        elif part is Part.ZYGOTE:
            eventually(lambda: self._kill_zygote(node), "another zygote", CAP_S)
        elif part is Part.NODE:
            node.kill()
            node.start()
        else:
            self._broker.kill()
            time.sleep(self._chance.random() * PAUSE_S)
            self._broker.start()

    def _freeze(self, strike: Strike, node: NodeProcess) -> None:
        """Requests go on meanwhile, and a frozen zygote has a child to fork."""
        assert strike.frozen_s is not None
        part = strike.part
        pid = eventually(lambda: self._pid(part, node) or 0, f"a {part} to freeze", CAP_S)
        with frozen(pid):
            until = time.monotonic() + strike.frozen_s
            if part is Part.ZYGOTE:
                self._kill_child()
            self._send(min(len(LANES) * 4, self.plan.requests - self._sent))
            time.sleep(max(0.0, until - time.monotonic()))

    def _pid(self, part: Part, node: NodeProcess) -> int | None:
        if part is Part.CHILD:
            children = self._busy_children()
            return self._chance.choice(children) if children else None
        if part is Part.ZYGOTE:
            return node.zygote
        if part is Part.BROKER:
            return self._broker.pid
        return (node if part is Part.NODE else self._gateway).process.pid

    def _busy_children(self) -> list[int]:
        """The processes of models that work; where none does, one is given some work."""
        rows = [row for node in self._nodes for _, row in sorted(node.models().items())]
        busy = [row["pid"] for row in rows if row["pid"] and row["running"] + row["waiting"]]
        if not busy:
            self._foreign.send("normal", draft("sleep", ["for a fault"], {"ms": 50.0}))
            self._foreign.flush(CAP_S)
            busy = [row["pid"] for row in rows if row["pid"]]
        return [pid for pid in busy if alive(pid)]  # a node hears of an end a moment later

    def _kill_child(self) -> bool:
        try:
            os.kill(self._chance.choice(self._busy_children()), signal.SIGKILL)
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

    # Keeping -------------------------------------------------------------------------------------

    def _keep_nodes(self) -> None:
        """What the host's supervisor does: start a node again when it has ended."""
        for node in self._nodes:
            eventually(lambda node=node: self._keep(node), "a node that is ready", CAP_S)  # type: ignore[misc]

    def _keep(self, node: NodeProcess) -> bool:
        if not node.running:
            assert node.process.returncode >= 0, f"a node died:\n{node.tail()}"
            self._struck["node ended by itself"] += 1
            self._note("a node that ended by itself")
            node.start()
        return node.ready(1.0)

    def _all_committed(self) -> bool:
        self._keep_nodes()
        try:
            with closing(Cluster(self._broker.bootstrap_servers, GROUP)) as cluster:
                return cluster.all_committed(NAMESPACE)
        except (KafkaException, TimeoutError):
            return False


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
