"""Broker, nodes and gateway of a run of chaos, and what strikes may ask of them."""

from __future__ import annotations

import signal
import time
from asyncio import StreamReader, StreamWriter
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from tests.checker import Fault
from tests.faults.callers import Callers
from tests.faults.proxy import Proxied, Proxy
from tests.foreign import Draft, Foreign, draft
from tests.nodes import GatewayProcess, NodeProcess
from tests.object_stores import ObjectStore, free_port, object_store
from tests.programs import ROOT, alive, eventually
from tests.schema_registries import FakeRegistry

NAMESPACE = "modelmora"
GROUP = f"{NAMESPACE}.nodes"
MODELS = 5
GROUP_REQUESTS = 16
KEYS = 16
BUCKET = "chaos"
INLINE_BYTES = 4096
SCHEMA = (ROOT / "schemas/inference_request.avsc").read_text()
GUESTS = 4
CAP_S = 240.0
SETTINGS: Mapping[str, object] = {
    "LIMITS__GROUP_REQUESTS": GROUP_REQUESTS,
    # Small enough that a flood meets them.
    "LIMITS__PARTITION_REQUESTS": 1000,
    "LIMITS__NODE_BYTES": 16 << 20,
    # The last try is 30 s after the first, not 5 min.
    "LIMITS__RETRIES": 1,
    "TIMING__START_TO_CLOSE_S": 10,
    # It is down for less, so every id is found.
    "SCHEMA_REGISTRY__WAIT_S": 60,
    # What ends is read by those who know no registry.
    "SCHEMA_REGISTRY__WRITE": "false",
}
# A client that finds a broker again as soon as it is there.
CLIENT: Mapping[str, str | int] = {"reconnect.backoff.max.ms": 500, "linger.ms": 20}


class Missed(Exception):
    """There was nothing to strike."""


class Wire(Proxy):
    """Before anything that talks TCP."""

    async def _requests(self, reader: StreamReader, onward: StreamWriter) -> None:
        await self._answers(reader, onward)


class Scene:
    """A context manager; everything it starts has ended behind it.

    The first `spared` nodes are never killed or stopped; `flood` is how many requests one has.
    """

    def __init__(self, folder: Path, nodes: int, *, spared: int = 0, flood: int = 2000) -> None:
        self.folder = folder
        self.spared = spared
        self.flood = flood
        self.proxy, self.store_proxy = Proxy(), Wire()
        self.registry = FakeRegistry()
        self.broker = Proxied(folder, self.proxy)
        self.nodes: list[NodeProcess] = []
        self.guests: list[NodeProcess] = []
        self.faults: list[Fault] = []
        self.ended: Counter[str] = Counter()
        self.died: list[str] = []
        self._count = nodes
        self._stack = ExitStack()

    def __enter__(self) -> Scene:
        try:
            for each in (self.proxy, self.store_proxy, self.registry):
                self._stack.enter_context(each)
            self.start_broker()
            self._stack.callback(self.broker.stop)
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self) -> None:
        store = self._stack.enter_context(object_store())
        store.put(BUCKET, {})
        self.store_proxy.target = int(store.url.rpartition(":")[2])
        self._settings = {**SETTINGS, **self._objects(store)}
        self.known = self.registry.add("requests", SCHEMA)
        self.nodes = [self._node(f"n{number}") for number in range(1, self._count + 1)]
        self.guests = [self._node(f"g{number}") for number in range(1, GUESTS + 1)]
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.wait_ready(CAP_S)
        ports = {"HTTP_PORT": free_port(), "GRPC_PORT": free_port()}
        own = {**ports, **self._objects(store)}
        self.gateway = GatewayProcess(self.proxy.address, NAMESPACE, self.folder, own)
        self._stack.callback(lambda: self.gateway.running and self.gateway.kill())
        self.gateway.start().wait_ready(CAP_S)
        self.foreign = self.client("strikes")
        http = self.gateway.http
        self.callers = self._stack.enter_context(Callers(http, again=True))
        # Never behind others who wait.
        self.probes = self._stack.enter_context(Callers(http, again=True))

    def _node(self, name: str) -> NodeProcess:
        own = {**self._settings, "SCHEMA_REGISTRY__URL": self.registry.url}
        node = NodeProcess(self.proxy.address, NAMESPACE, self.folder, name, own)
        self._stack.push(node.__exit__)
        return node

    def _objects(self, store: ObjectStore) -> dict[str, object]:
        return {
            "OBJECTS__STORE": "s3",
            "OBJECTS__BUCKET": BUCKET,
            "OBJECTS__ENDPOINT": f"http://{self.store_proxy.address}",
            "OBJECTS__REGION": "us-east-1",
            "OBJECTS__ACCESS_KEY": store.key,
            "OBJECTS__SECRET_KEY": store.secret,
            "OBJECTS__INLINE_BYTES": INLINE_BYTES,
        }

    def client(self, name: str) -> Foreign:
        """A producer of its own; for one thread."""
        ids = self.folder / f"ids-{name}.jsonl"
        servers = self.broker.bootstrap_servers
        made = Foreign(servers, ids, NAMESPACE, settings=CLIENT, keep=False)
        return self._stack.enter_context(made)

    def start_broker(self) -> None:
        """Start it, on machines that are busy too."""
        self.broker.start(CAP_S)

    # For strikes ---------------------------------------------------------------------------------

    def note(self, what: str) -> None:
        """A fault that may repeat work: two groups of each replica, taken away and given back."""
        members = sum(each.running for each in self.members())
        moves = 1 if members == 1 else 2 * members
        self.faults.append(Fault(what, time.time(), 2 * GROUP_REQUESTS * MODELS * moves))

    def members(self) -> Iterator[NodeProcess]:
        """Nodes and guests, running or not."""
        yield from self.nodes
        yield from self.guests

    def ready(self) -> list[NodeProcess]:
        """The nodes that serve; waited for."""
        return eventually(self._ready, "a node that is ready", CAP_S)

    def _ready(self) -> list[NodeProcess]:
        self.keep()
        return [node for node in self.members() if node.running and node.ready(0)]

    def pile_up(self, count: int = 60, ms: float = 30.0) -> None:
        """More than can be done at once, so that whatever is struck holds work."""
        for number in range(count):
            self.send("normal", draft("sleep", [f"pile {number}"], {"ms": ms}, timeout_ms=10_000))

    def send(self, lane: str, one: Draft) -> None:
        """Write a request, under keys that spread a model over the nodes."""
        key = b"%d" % (self.foreign.acknowledged % KEYS)
        self.foreign.send(lane, replace(one, key=key))

    def busy_children(self) -> list[int]:
        """The processes of models that work; where none does, some work is written."""
        rows = [row for node in self.ready() for _, row in sorted(node.models().items())]
        busy = [row["pid"] for row in rows if row["pid"] and row["running"] + row["waiting"]]
        if not busy:
            self.pile_up(10)
            busy = [row["pid"] for row in rows if row["pid"]]
        found = [pid for pid in busy if alive(pid)]
        if not found:
            raise Missed
        return found

    # Keeping -------------------------------------------------------------------------------------

    def keep(self) -> None:
        """What a supervisor does: start again what has ended by itself."""
        for node in self.nodes:
            if not node.running:
                self._tell(node)
                node.start()
        for guest in self.guests:
            if not guest.running and guest.facts:
                self._tell(guest)
                guest.facts = {}
        if not self.gateway.running:
            self.died.append(f"the gateway ended:\n{self.gateway.tail()}")
            self.gateway.start()

    def _tell(self, node: NodeProcess) -> None:
        code = node.process.returncode
        name = node.log.stem
        self.ended[f"{name} ended by itself with {code}"] += 1
        self.note("a node that ended by itself")
        if code < 0:
            self.died.append(f"{name} died by signal {-code}:\n{node.tail()}")

    def leave(self, node: NodeProcess) -> None:
        """Stop a node as its host would; one that does not end well has died."""
        begun = node.ready(0)
        code = node.stop(CAP_S)
        node.facts = {}
        # While its interpreter starts SIGTERM ends it as it ends any program.
        if code and (begun or code != -signal.SIGTERM):
            self.died.append(f"{node.log.stem} was stopped and ended with {code}:\n{node.tail()}")

    def close(self) -> None:
        """Stop every node, when nothing is to be done any more."""
        for node in self.members():
            if node.running:
                self.leave(node)
