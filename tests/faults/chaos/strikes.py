"""The kinds of fault: what each does; recovery counts from where `strike` returns."""

from __future__ import annotations

import os
import random
import signal
import time
from abc import ABC, abstractmethod
from typing import ClassVar

from tests.faults.chaos.load import LARGE, framed
from tests.faults.chaos.scene import GUESTS, SCHEMA, Missed, Scene
from tests.faults.proxy import FETCH
from tests.foreign import LANES, Broken, draft
from tests.nodes import SESSION_S, NodeProcess, frozen
from tests.programs import eventually

# Shorter than the group waits for a member, and longer.
SHORT_S = (0.2, 2.0)
LONG_S = (SESSION_S + 2.0, SESSION_S + 8.0)
DOWN_S = (1.0, 12.0)
STORM_S, STORM_GAP_S = 16.0, 2.0
WAIT_S = 60.0


class Strike(ABC):
    """A fault. `chance` decides what is open; the same one decides the same."""

    name: ClassVar[str]
    rows: ClassVar[tuple[str, ...]] = ()
    """The rows of the matrix that it is one of."""
    moves: ClassVar[bool] = False
    """Whether work may be done twice for it."""
    door: ClassVar[bool] = False
    """Whether a caller of the gateway tells of its recovery."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    @abstractmethod
    def strike(self, scene: Scene) -> None:
        """Do it, and return when it is over. Raises Missed where there is nothing to strike."""

    def seconds(self, span: tuple[float, float]) -> float:
        """So long."""
        return self.chance.uniform(*span)

    def node(self, scene: Scene) -> NodeProcess:
        """Some node that serves."""
        return self.chance.choice(scene.ready())


def _kill(pid: int | None) -> None:
    if pid is None:
        raise Missed
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        raise Missed from None


def _freeze(pid: int | None, seconds: float) -> None:
    if pid is None:
        raise Missed
    try:
        with frozen(pid):
            time.sleep(seconds)
    except ProcessLookupError:
        raise Missed from None


class ChildKilled(Strike):
    """SIGKILL to a model's process that works."""

    name, rows = "child killed", ("F1",)

    def strike(self, scene: Scene) -> None:
        """Do it."""
        _kill(self.chance.choice(scene.busy_children()))


class ChildFrozen(Strike):
    """SIGSTOP for longer than a group may run, so that the node kills it, or for a moment."""

    name, rows = "child frozen", ("F2",)

    def strike(self, scene: Scene) -> None:
        """Do it."""
        pid = self.chance.choice(scene.busy_children())
        _freeze(pid, self.seconds(self.chance.choice((SHORT_S, LONG_S))))


class _Poison(Strike):
    """A request that harms its process, among some that do not."""

    model: ClassVar[str]
    others: ClassVar[int] = 15

    def strike(self, scene: Scene) -> None:
        """Do it."""
        texts = [f"fine {number}" for number in range(self.others)]
        texts.insert(self.chance.randrange(len(texts) + 1), "poison")
        for text in texts:
            made = draft(self.model, [text], {"marker": "poison"}, timeout_ms=60_000)
            scene.foreign.send("high", made)
        scene.foreign.flush(WAIT_S)


class Crash(_Poison):
    """It kills it."""

    name, rows, model = "poison: crash", ("F4",), "crash"


class Hang(_Poison):
    """It never ends."""

    name, rows, model, others = "poison: hang", ("F2",), "hang", 3


class OutOfMemory(_Poison):
    """It takes all memory that it may have."""

    name, rows, model = "poison: out of memory", ("F3",), "oom"


class ZygoteKilled(Strike):
    """SIGKILL to the process that forks children."""

    name, rows = "zygote killed", ("F27",)

    def strike(self, scene: Scene) -> None:
        """Do it."""
        _kill(self.node(scene).zygote)


class ZygoteFrozen(Strike):
    """SIGSTOP, while a child is to be forked."""

    name, rows = "zygote frozen", ("F28",)

    def strike(self, scene: Scene) -> None:
        """Do it."""
        node = self.node(scene)
        pids = [row["pid"] for row in node.models().values() if row["pid"]]
        if node.zygote is None or not pids:
            raise Missed
        with frozen(node.zygote):
            _kill(self.chance.choice(pids))
            scene.pile_up(10)
            time.sleep(self.seconds(self.chance.choice((SHORT_S, LONG_S))))


class NodeKilled(Strike):
    """SIGKILL; it is started again."""

    name, rows, moves = "node killed", ("F6",), True

    def strike(self, scene: Scene) -> None:
        """Do it."""
        node = self.chance.choice(scene.nodes[scene.spared :])
        node.kill()
        node.start()


class NodeFrozen(Strike):
    """SIGSTOP for longer than the session: others take over."""

    name, rows, moves = "node frozen, long", ("F28",), True
    span = LONG_S

    def strike(self, scene: Scene) -> None:
        """Do it."""
        scene.pile_up()
        _freeze(self.node(scene).process.pid, self.seconds(self.span))


class NodeFrozenShortly(NodeFrozen):
    """SIGSTOP for less than the session."""

    name, span = "node frozen, short", SHORT_S


class BrokerKilled(Strike):
    """SIGKILL; it is started again on the same data."""

    name, rows, moves = "broker killed", ("F7",), True

    def strike(self, scene: Scene) -> None:
        """Do it."""
        scene.broker.kill()
        time.sleep(self.seconds(SHORT_S))
        scene.start_broker()


class BrokerFrozen(Strike):
    """SIGSTOP of the JVM."""

    name, rows, moves = "broker frozen", ("F8",), True

    def strike(self, scene: Scene) -> None:
        """Do it."""
        _freeze(scene.broker.pid, self.seconds(self.chance.choice((SHORT_S, LONG_S))))


class BrokerUnreachable(Strike):
    """The network swallows, refuses, brings nothing back, or brings no records."""

    name, rows, moves = "broker unreachable", ("F8", "F10"), True

    def strike(self, scene: Scene) -> None:
        """Do it."""
        proxy = scene.proxy
        fetches = (FETCH,)
        verbs = (proxy.black_hole, proxy.refuse, proxy.half_open, lambda: proxy.drop(fetches))
        self.chance.choice(verbs)()
        time.sleep(self.seconds(self.chance.choice((SHORT_S, LONG_S))))
        proxy.heal()


class StoreDown(Strike):
    """The object store refuses, or never answers, while outputs are to be put there."""

    name, rows = "object store down", ("F12",)

    def strike(self, scene: Scene) -> None:
        """Do it."""
        self.chance.choice((scene.store_proxy.black_hole, scene.store_proxy.refuse))()
        for number in range(8):
            scene.send("high", draft("echo", [f"{number}" * LARGE]))
        time.sleep(self.seconds(DOWN_S))
        scene.store_proxy.heal()


class RegistryDown(Strike):
    """The schema registry fails, while requests come under an id that nobody has asked for."""

    name, rows = "schema registry down", ("F11",)

    def strike(self, scene: Scene) -> None:
        """Do it."""
        # The same schema, written as nobody has yet.
        fresh = scene.registry.add("requests", SCHEMA + " " * self.chance.randrange(1, 5000))
        scene.registry.down = True
        for number in range(8):
            scene.send("high", framed(draft("echo", ["known"]), scene.known))
            scene.send("high", framed(draft("echo", [f"fresh {number}"]), fresh))
        time.sleep(self.seconds(DOWN_S))
        scene.registry.down = False


class GatewayKilled(Strike):
    """SIGKILL while callers wait; it is started again."""

    name, rows, door = "gateway killed", ("F16",), True

    def strike(self, scene: Scene) -> None:
        """Do it."""
        scene.gateway.kill()
        scene.gateway.start()


class GatewayFrozen(Strike):
    """SIGSTOP while callers wait."""

    name, rows, door = "gateway frozen", ("F28",), True

    def strike(self, scene: Scene) -> None:
        """Do it."""
        _freeze(scene.gateway.process.pid, self.seconds(self.chance.choice((SHORT_S, LONG_S))))


class Join(Strike):
    """Another node starts; recovered is what it then owns."""

    name, moves = "node joins", True

    def strike(self, scene: Scene) -> None:
        """Do it."""
        away = [guest for guest in scene.guests if not guest.running]
        if not away:
            raise Missed
        away[0].start()
        eventually(lambda: away[0].ready(1) or not away[0].running, "a guest is ready", WAIT_S * 4)


class Leave(Strike):
    """A node that joined is stopped, or one of the first, which is started again."""

    name, moves = "node leaves", True

    def strike(self, scene: Scene) -> None:
        """Do it."""
        guests = [guest for guest in scene.guests if guest.running]
        node = guests[0] if guests else self.chance.choice(scene.nodes[scene.spared :])
        scene.leave(node)
        if node in scene.nodes:
            node.start()


class Storm(Strike):
    """Up to six members, of which one joins or leaves every two seconds."""

    name, rows, moves = "members come and go", ("F9",), True

    def strike(self, scene: Scene) -> None:
        """Do it."""
        until = time.monotonic() + STORM_S
        while time.monotonic() < until:
            guest = scene.guests[self.chance.randrange(GUESTS)]
            scene.note("a member that comes or goes")
            if guest.running:
                scene.leave(guest)
            else:
                guest.start()
            time.sleep(STORM_GAP_S)


class Flood(Strike):
    """Far more requests at once than are done in a second, on all lanes."""

    name, rows = "flood", ("F14",)

    def strike(self, scene: Scene) -> None:
        """Do it."""
        for number in range(scene.flood):
            made = draft("echo", [f"flood {number}"], timeout_ms=30_000 if number % 3 else None)
            scene.send(self.chance.choice(LANES), made)


class Corrupt(Strike):
    """Records that are no request, of every kind, at once."""

    name, rows = "corrupt records", ("F18",)

    def strike(self, scene: Scene) -> None:
        """Do it."""
        kinds = list(Broken) * 4
        self.chance.shuffle(kinds)
        for kind in kinds:
            scene.send(self.chance.choice(LANES), draft("echo", ["broken"], broken=kind))


KINDS: tuple[type[Strike], ...] = (
    ChildKilled,
    ChildFrozen,
    Crash,
    Hang,
    OutOfMemory,
    ZygoteKilled,
    ZygoteFrozen,
    NodeKilled,
    NodeFrozen,
    NodeFrozenShortly,
    BrokerKilled,
    BrokerFrozen,
    BrokerUnreachable,
    StoreDown,
    RegistryDown,
    GatewayKilled,
    GatewayFrozen,
    Join,
    Leave,
    Storm,
    Flood,
    Corrupt,
)
SOAK = tuple(kind for kind in KINDS if kind not in (ZygoteKilled, GatewayKilled))
"""Those under which the first node, its zygote and the gateway live on."""
