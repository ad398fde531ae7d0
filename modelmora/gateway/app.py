"""Wires the gateway: settings to topics, the hall, both doors, and a clean end."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog
from aiokafka.errors import KafkaError

from modelmora import addresses
from modelmora.access.binding import check_binding
from modelmora.access.certificates import Certificates
from modelmora.audit.auditor import Auditor
from modelmora.audit.pending import Forwarding
from modelmora.errors import ModelMoraError, Unreachable
from modelmora.gateway.batches.driver import Driver
from modelmora.gateway.bridge import Bridge
from modelmora.gateway.doors.batches.paths import OpenAiPaths
from modelmora.gateway.doors.grpc.server import RpcServer
from modelmora.gateway.doors.rest.routes import JSON_OVER_RECORD, create_app
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.rights.guard import EVERYBODY, Guard, guard_of
from modelmora.gateway.rights.permits import Permits
from modelmora.gateway.traced import Traced
from modelmora.kafka.acls import Component
from modelmora.kafka.admin import Admin, check_lanes
from modelmora.kafka.background import background
from modelmora.kafka.connection import bootstrap_servers
from modelmora.kafka.schema_registry import Schemas
from modelmora.settings import Settings, load_settings
from modelmora.surroundings import ended_by, on_ending, settle
from modelmora.telemetry import logs
from modelmora.telemetry.notify import notify
from modelmora.telemetry.spans import Spans
from modelmora.telemetry.standstill import Standstill
from modelmora.web.server import HttpServer

log = structlog.get_logger(__name__)
UNWATCHED = 70  # a part that nothing replaces has ended
DRAIN_S = 5.0
HEALTH_S = 0.5


class Gateway:
    """The hall and its two doors in one loop."""

    def __init__(self, settings: Settings, stalled_s: Callable[[], float] = lambda: 0.0) -> None:
        self._settings = settings
        self._stalled_s = stalled_s
        self._schemas: Schemas | None = None
        self._bridge: Bridge | None = None
        self._rest: HttpServer | None = None
        self._rpc: RpcServer | None = None
        self._driver: Driver | None = None
        self._spans: Spans | None = None
        self._watch: asyncio.Task[None] | None = None
        self._guard = EVERYBODY
        self.http = ""
        self.grpc = ""

    async def start(self) -> None:
        """Connect and listen. Raises ModelMoraError with its exit code."""
        settings = self._settings
        check_binding(settings)
        auditor = Auditor.of(settings, f"gateway@{socket.gethostname()}", "gateways")
        guard = self._guard = guard_of(settings, auditor.tell)
        certificates = Certificates.of(settings)
        servers = bootstrap_servers(settings)
        admin = Admin(settings)
        await asyncio.to_thread(admin.require, Component.GATEWAY)
        states = await asyncio.to_thread(admin.create if settings.topics.create else admin.describe)
        check_lanes(states)
        schemas = self._schemas = Schemas.of(settings)
        if schemas:
            await asyncio.to_thread(schemas.register)
        metrics = Metrics()
        self._spans = Spans.of(settings, "gateway", socket.gethostname())
        bridge = self._bridge = Bridge(settings, metrics, schemas, auditor)
        bridge.wellness.stalled_s = self._stalled_s
        try:
            await bridge.start()
        except KafkaError as error:
            raise Unreachable(f"the broker at {servers} failed: {type(error).__name__}") from None
        guard.begin()
        rpc = await self._open(bridge, metrics, guard, auditor, certificates)
        pending = Forwarding(settings, auditor)
        self._watch = background(self._follow(bridge, rpc, pending), "health")
        log.info("gateway ready", http=self.http, grpc=self.grpc, id=bridge.gateway_id)

    async def _open(
        self,
        bridge: Bridge,
        metrics: Metrics,
        guard: Guard,
        auditor: Auditor,
        certificates: Certificates | None,
    ) -> RpcServer:
        """Open both doors, and start what works behind them."""
        settings, request_bytes = self._settings, self._settings.limits.request_bytes
        permits = Permits(bridge.ruling, auditor.tell)
        for principal, role in bridge.ruling.rights().untold:
            log.warning("a role is granted that nobody tells", role=role, principal=principal)
        hall = Traced(bridge, permits, metrics, bridge.limiter)
        hall.spans = self._spans
        app = create_app(hall, metrics, request_bytes, guard, permits, bridge.limiting)
        tls = certificates.context() if certificates else None
        self._rest = HttpServer(app, settings.host, settings.http_port, tls)
        host, port = await self._rest.start()
        self.http = f"{self._rest.scheme}://{addresses.join(host, port)}"
        bridge.shelf.served_at(self.http)
        most = request_bytes * JSON_OVER_RECORD
        paths, own = OpenAiPaths(), bridge.gateway_id
        self._driver = Driver(hall, bridge.batches, paths, own, most)
        self._driver.start()
        self._rpc = RpcServer(
            hall,
            metrics,
            request_bytes,
            guard,
            permits,
            purposes=settings.purposes,
            certificates=certificates,
        )
        port = await self._rpc.start(settings.host, settings.grpc_port)
        self.grpc = addresses.join(host, port)
        await self._rpc.serving(now=not bridge.faults())
        return self._rpc

    def parts(self) -> tuple[asyncio.Task[None], ...]:
        """The tasks without which a gateway is none; nothing starts them anew."""
        return tuple(part for part in (self._watch, self._rest and self._rest.task) if part)

    async def stop(self) -> None:
        """Say so, refuse new requests, let those waiting end, then close both doors."""
        if self._bridge and self._rpc:
            self._bridge.leave()
            await self._rpc.leave()
        if self._driver:
            await self._driver.stop()
        if self._bridge and self._rpc:
            drain_s = min(self._settings.timing.drain_s, DRAIN_S)
            await self._bridge.drain(drain_s)
        if self._watch:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        if self._rpc:
            await self._rpc.stop(1.0)
        if self._rest:
            await self._rest.stop()
        await self._guard.close()
        if self._bridge:
            await self._bridge.stop()
        if self._schemas:
            self._schemas.close()
        if self._spans:
            await asyncio.to_thread(self._spans.close)

    @staticmethod
    async def _follow(bridge: Bridge, rpc: RpcServer, pending: Forwarding) -> None:
        while True:
            bridge.look()
            pending.look()
            await rpc.serving(now=not bridge.faults())
            await asyncio.sleep(HEALTH_S)


async def serve(settings: Settings) -> int:
    """Run a gateway until SIGTERM (0) or SIGINT (130), or a part of it has ended (70)."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def end(code: int) -> None:
        if not ended.done():
            ended.set_result(code)

    on_ending(lambda number: end(ended_by(number)))
    standstill = Standstill(settings.timing.watchdog_s, partial(os._exit, UNWATCHED))
    standstill.start()
    gateway = Gateway(settings, standstill.longest_s)
    starting = asyncio.create_task(gateway.start())
    try:
        await asyncio.wait((starting, ended), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            await starting
            notify(ready=True, http=gateway.http, grpc=gateway.grpc)
            parts: set[asyncio.Future[Any]] = {ended, *gateway.parts()}
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                log.error("a part has ended; the gateway ends, to be started anew")
                end(UNWATCHED)
        starting.cancel()
        return ended.result()
    finally:
        await asyncio.gather(starting, return_exceptions=True)
        await gateway.stop()


def run() -> int:
    """The process: the exit code, errors as one line on stderr."""
    try:
        settle()
        settings = load_settings()
        logs.configure(settings.log, "gateway")
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(serve(settings))
    except ModelMoraError as error:
        sys.stderr.write(f"modelmora: {error}\n")
        return error.exit_code


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: type[asyncio.AbstractEventLoop] = uvloop.Loop
    return factory
