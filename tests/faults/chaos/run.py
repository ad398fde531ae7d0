"""One run of chaos: load and strikes until the time is over, then the checker's verdict."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path

from confluent_kafka import KafkaException

from tests.checker import Evidence, Sampler, Told, Verdict, gather, judge, read_ids
from tests.checker.reading import Cluster
from tests.faults.chaos.load import Load
from tests.faults.chaos.plan import Plan
from tests.faults.chaos.report import Report
from tests.faults.chaos.scene import CAP_S, GROUP, NAMESPACE, Missed, Scene
from tests.faults.chaos.steady import Steady
from tests.faults.chaos.strikes import Strike
from tests.faults.chaos.watch import Seen, Watch
from tests.foreign import LANES, Foreign, draft
from tests.nodes import PARTITIONS
from tests.programs import eventually

STEP_S = 0.5
END_S = 900.0


class Chaos:
    """One run in one folder; everything it starts has ended when `run` returns."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan = plan
        self._scene = Scene(folder, plan.nodes, spared=int(plan.witness), flood=plan.flood)
        self._struck: list[Seen] = []
        self._missed: Counter[str] = Counter()

    def run(self) -> Report:
        """Start, strike, wait for the end of the work, judge."""
        with self._scene as scene:
            servers = scene.broker.bootstrap_servers
            foreign = scene.client("load")
            plan = self._plan
            load = Load(foreign, scene.callers, plan.rate, plan.seed, scene.known)
            with (
                Sampler(servers, GROUP, NAMESPACE) as sampler,
                Watch(servers, f"{NAMESPACE}.results") as watch,
            ):
                self._fill(foreign)
                with Steady(self._processes) as steady:
                    began = time.monotonic()
                    load.start()
                    self._strike(watch, began)
                    load.stop()
                    struck_s = time.monotonic() - began
                    told = self._drain(foreign)
                    drained_s = time.monotonic() - began - struck_s
                    self._pause(plan.settle_s)
                survivors = steady.survivors()
                silent_s = watch.silent_s
            scene.close()
            verdict, evidence, judge_s = self._judge(sampler, told)
        return Report(
            self._plan,
            verdict,
            Counter(one.code or one.status for one in evidence.outcomes),
            self._struck,
            self._missed,
            scene.ended,
            scene.died,
            survivors,
            struck_s,
            drained_s,
            judge_s,
            silent_s,
        )

    def _processes(self) -> dict[str, int | None]:
        scene = self._scene
        found: dict[str, int | None] = {}
        for node in scene.nodes:
            if node.running:
                found[node.log.stem] = node.process.pid
                found[f"{node.log.stem}'s zygote"] = node.zygote
        if scene.gateway.running:
            found["gateway"] = scene.gateway.process.pid
        found["broker"] = scene.broker.pid
        return found

    def _fill(self, foreign: Foreign) -> None:
        for number in range(self._plan.fill):
            foreign.send(LANES[number % len(LANES)], draft("echo", ["fill"]))
        if self._plan.fill:
            foreign.flush(END_S)
            eventually(self._all_committed, "what fills them is committed", END_S)

    # Striking ------------------------------------------------------------------------------------

    def _strike(self, watch: Watch, began: float) -> None:
        until = began + self._plan.minutes * 60
        for gap_s, strike in self._plan.strikes():
            self._pause(min(gap_s, until - time.monotonic()))
            if time.monotonic() >= until:
                return
            self._do(strike, watch, began)

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._scene.keep()
            time.sleep(min(left, STEP_S))

    def _do(self, strike: Strike, watch: Watch, began: float) -> None:
        at = time.monotonic()
        if self._struck and self._struck[-1].all_s is None:
            self._struck[-1].beside = True
        if strike.moves:
            self._scene.note(strike.name)
        try:
            strike.strike(self._scene)
        except Missed:
            self._missed[strike.name] += 1
            return
        now = time.monotonic()
        seen = Seen(strike.name, at - began, now - at, over=now)
        self._struck.append(seen)
        if strike.door:
            self._ask(seen)
        else:
            self._write(seen, watch)

    def _ask(self, seen: Seen) -> None:
        seen.waits = {"answer"}
        asked = self._scene.probes.ask("echo", {"inputs": ["after"], "priority": "critical"})
        asked.add_done_callback(lambda _: seen.came("answer", time.monotonic()))

    def _write(self, seen: Seen, watch: Watch) -> None:
        probes = [draft("echo", ["after"]) for _ in range(PARTITIONS)]
        seen.waits = {each.request_id for each in probes}
        watch.await_first(seen)
        for partition, each in enumerate(probes):
            self._scene.foreign.send("critical", each, partition)

    # Behind it -----------------------------------------------------------------------------------

    def _drain(self, load: Foreign) -> tuple[Told, ...]:
        for each in (load, self._scene.foreign):
            each.flush(CAP_S)
        told = self._scene.callers.told() + self._scene.probes.told()
        # What has not ended by then is for the checker to find.
        with suppress(AssertionError):
            eventually(self._all_committed, "all requests committed", END_S)
        return told

    def _all_committed(self) -> bool:
        self._scene.keep()
        try:
            with closing(Cluster(self._scene.broker.bootstrap_servers, GROUP)) as cluster:
                return cluster.all_committed(NAMESPACE)
        except (KafkaException, TimeoutError):
            return False

    def _judge(self, sampler: Sampler, told: tuple[Told, ...]) -> tuple[Verdict, Evidence, float]:
        began = time.monotonic()
        scene = self._scene
        files = sorted(scene.folder.glob("ids-*.jsonl"))
        evidence = gather(
            scene.broker.bootstrap_servers,
            GROUP,
            NAMESPACE,
            tuple(line for file in files for line in read_ids(file)),
            samples=sampler.samples,
            faults=tuple(scene.faults),
            told=told,
        )
        return judge(evidence), evidence, time.monotonic() - began


def run(plan: Plan, folder: Path) -> Report:
    """Run it."""
    return Chaos(plan, folder).run()
