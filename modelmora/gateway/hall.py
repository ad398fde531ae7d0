"""What the doors know of the hall: what they ask, and how it answers."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from aiokafka import ConsumerRecord

from modelmora.access.rights import Told
from modelmora.errors import Code
from modelmora.gateway.batches.state import KEPT_MS, Batch, File
from modelmora.gateway.caller import Given, caller, given
from modelmora.gateway.calls.jobs import Job
from modelmora.gateway.cluster.administering import Administering
from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.shelf import Shelf
from modelmora.kafka.leases import NodeLease
from modelmora.kafka.orders import Order
from modelmora.kafka.writing.publisher import Record
from modelmora.messages import (
    Content,
    ControlVerb,
    Health,
    InferenceResult,
    Lane,
    Parameter,
    ProgressEvent,
    RegistryRecord,
)
from modelmora.records import Entry, Registry
from modelmora.settings import ModelConfig
from modelmora.settings.canaries import CanaryPlan
from modelmora.settings.routes import Route
from modelmora.telemetry.health import Verdict
from modelmora.web.tracing import traceparent_of

REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
MOST_WAIT_S = 3600
STOPPING = "the gateway is stopping"
"""The fault of one that takes nothing more."""
LANES = {lane.label: lane for lane in Lane}
Heard = Callable[[ProgressEvent], None]


@dataclass(slots=True)
class Course:
    """What becomes of an ask; `spared`: nothing ran for it, since another of its id did.

    `on_record` is given the record that asks, before it is written, and `on_outcome` the one that
    answers, where the call has waited for that.
    """

    spared: bool = False
    on_record: Callable[[Record], None] = lambda _: None
    on_outcome: Callable[[ConsumerRecord], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class Ask:
    """One request as a door hands it in; `model` is `name` or `name@version`.

    `request_id` is set where the caller brings its own; `timeout_ms` None is the setting;
    `principal` is who asks, `headers` are those of the call. A `job` has an id, and goes on where
    the call that waits for it is given up; it is `new` where surely nobody has asked by that id,
    and then is not looked for.
    """

    door: str
    model: str
    inputs: tuple[Content, ...]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    lane: Lane = Lane.NORMAL
    timeout_ms: int | None = None
    progress: bool = False
    request_id: str | None = None
    traceparent: str = field(default_factory=lambda: traceparent_of(None))
    principal: str = field(default_factory=caller.get)
    job: bool = False
    new: bool = False
    headers: Given = field(default_factory=given.get, repr=False, compare=False)
    course: Course = field(default_factory=Course, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Wish:
    """An order to the nodes as a door hands it in; `wait_s` 0: until it is written."""

    verb: ControlVerb
    model: str
    wait_s: float = 0.0
    everywhere: bool = False


class Changing(Protocol):
    """The registry as it was read, and how callers change it; see `records.registrar`."""

    @property
    def state(self) -> Registry:
        """As it was read."""

    async def register(self, config: ModelConfig) -> tuple[Entry, bool]:
        """What counts now, and whether it is new."""

    async def update(
        self, name: str, version: str, changes: Mapping[str, Any], base: int | None = None
    ) -> Entry:
        """What counts now."""

    async def retire(self, name: str, version: str, base: int | None = None) -> Entry:
        """The record of what was there."""

    async def activate(self, name: str, version: str) -> None:
        """Let a version answer for its name."""

    async def set_route(self, name: str, route: Route, base: int | None = None) -> None:
        """Let a name be answered so."""

    async def start_canary(self, name: str, plan: CanaryPlan) -> None:
        """Let a version take over a name in steps."""

    async def abort_canary(self, name: str) -> None:
        """End what takes over a name."""

    async def make_default(self, name: str) -> None:
        """Let a model answer for its task."""

    def told(self) -> Told:
        """The roles and grants that all processes go by."""

    async def tell(self, record: RegistryRecord | None) -> None:
        """Tell a role or a grant, as `records.granting` makes it; None changes nothing."""


class Batches(Protocol):
    """Files of requests, and the batches made of them; see `batches.register`. Raises Refusal."""

    async def add_file(self, path: Path, name: str, kept_ms: int = KEPT_MS) -> File:
        """Keep what lies there as an input of batches."""

    def files(self) -> list[File]:
        """The caller's, the oldest first."""

    async def file(self, file_id: str) -> File:
        """The caller's file of that id."""

    def content(self, file: File) -> AsyncGenerator[bytes]:
        """Its bytes."""

    async def delete_file(self, file_id: str) -> None:
        """Let go of a file."""

    async def create(
        self, file_id: str, endpoint: str, metadata: Mapping[str, str] | None
    ) -> Batch:
        """A batch of the requests in a file."""

    def batches(self) -> list[Batch]:
        """The caller's, the oldest first."""

    async def batch(self, batch_id: str) -> Batch:
        """The caller's batch of that id."""

    async def cancel(self, batch_id: str) -> Batch:
        """See to it that a batch does not run on."""


class Hall(Protocol):
    """Where every door leads."""

    @property
    def registrar(self) -> Changing:
        """The registry, as it was read and to be changed."""

    @property
    def shelf(self) -> Shelf:
        """Large content, in either direction."""

    @property
    def batches(self) -> Batches:
        """Files of requests, and the batches made of them."""

    @property
    def administration(self) -> Administering:
        """Dead letters, and the audit."""

    async def infer(self, ask: Ask, heard: Heard | None = None) -> InferenceResult:
        """The completed result; raises Refusal. Cancelling the call cancels what is no job.

        `heard` is called with what is told of it until then, if the ask wants progress.
        """

    async def submit(self, ask: Ask) -> Job:
        """Write a request for which nobody waits; any gateway tells of it from now on.

        One that its caller has submitted before by this id is not run again. Raises Refusal.
        """

    def watch(self, request_id: str) -> AsyncGenerator[Job | ProgressEvent | None]:
        """How a job stands, what is told of it, and last how it ended; None after each silence.

        Leaving it leaves the job alone. Raises Refusal (`not_found`, also for another's).
        """

    async def outcome(self, request_id: str) -> InferenceResult:
        """The completed result of a job.

        Raises Refusal: `not_found`, `not_finished`, `gone`, or the code that it ended with.
        """

    async def cancel(self, request_id: str) -> Job:
        """See to it that a job does not run on, and tell how it stands then. Raises Refusal."""

    async def order(self, wish: Wish) -> Order:
        """Give an order, and wait for what becomes of it; raises Refusal."""

    def hold(self, size: int, to: int = 0) -> None:
        """Count `size` more bytes of content as held here; raises Refusal when it is too much.

        `to` is how many the request holds with them, where they come in pieces.
        """

    def release(self, size: int) -> None:
        """Give back what was held."""

    def faults(self) -> tuple[str, ...]:
        """Why the gateway is not ready; empty when it is."""

    def verdict(self) -> Verdict:
        """How the gateway is, in full."""

    def models(self) -> tuple[RegistryRecord, ...]:
        """The models of the registry, by name and version."""

    def health(self) -> Mapping[str, Health]:
        """How each model is on the node of those that run where it is best, by name@version."""

    def status(self) -> Mapping[str, NodeLease]:
        """What each node that runs has told last, by its name."""


def check_request_id(given: str | None) -> str | None:
    """A caller's own id, None where there is none; raises Refusal for one that cannot be used."""
    if not given:
        return None
    if not REQUEST_ID.fullmatch(given):
        message = "a request id is 1 to 128 visible ASCII characters without spaces"
        raise Refusal(Code.INVALID_INPUT, message, field="request_id")
    return given


def standing(hall: Hall) -> list[dict[str, Any]]:
    """How each model is on each node, and what it holds there: what both doors tell of the status.

    As `modelmora ps` shows it of one node; see `Holding`.
    """
    rows = []
    for node, lease in sorted(hall.status().items()):
        for model, health in sorted(lease.models().items()):
            name, _, version = model.partition("@")
            row = {"node": node, "name": name, "version": version, "task": lease.serves.get(model)}
            row |= {"state": health.state.value, "reason": health.reason}
            rows.append(row | asdict(lease.holds(model)))
    return rows


def state_of(hall: Hall, model: RegistryRecord) -> dict[str, str | None]:
    """Where a model stands as far as nodes tell (None: none runs), and why it has failed."""
    health = hall.health().get(f"{model.name}@{model.version}")
    if health is None:
        return {"state": None, "reason": None}
    return {"state": health.state.value, "reason": health.reason}
