"""The gRPC server: our services, health and reflection, and how a refusal is told."""

from __future__ import annotations

from typing import Any, NoReturn

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from modelmora import addresses
from modelmora.errors import ConfigurationError
from modelmora.gateway.doors.grpc import inference, management, registry
from modelmora.gateway.doors.grpc.inference import InferenceService
from modelmora.gateway.doors.grpc.management import ManagementService
from modelmora.gateway.doors.grpc.registry import RegistryService
from modelmora.gateway.doors.miraveja import rpc as miraveja
from modelmora.gateway.doors.miraveja.rpc import MiravejaServices
from modelmora.gateway.hall import Hall
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import Refusal, answer_of
from modelmora.messages.headers import ERROR_CODE
from modelmora.settings import Purposes

KEEPALIVE_MS = 30_000  # a caller whose machine says nothing for twice as long is gone
STATUS = health_pb2.HealthCheckResponse


class RpcServer:
    """The gRPC server with health and reflection beside the service."""

    def __init__(
        self,
        hall: Hall,
        metrics: Metrics,
        request_bytes: int,
        *,
        purposes: Purposes = Purposes(),  # noqa: B008  (frozen)
    ) -> None:
        self._server = grpc.aio.server(
            options=(
                # Without it a taken port is shared in silence.
                ("grpc.so_reuseport", 0),
                # Room above the limit, so that our own code tells it to the caller.
                ("grpc.max_receive_message_length", 2 * request_bytes + (1 << 20)),
                ("grpc.max_send_message_length", -1),
                # A caller may ask as often as it likes whether we are there; so do we.
                ("grpc.http2.max_ping_strikes", 0),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.keepalive_time_ms", KEEPALIVE_MS),
                ("grpc.keepalive_timeout_ms", KEEPALIVE_MS),
            )
        )
        services = (
            InferenceService(hall, metrics, _abort),
            RegistryService(hall, _abort),
            ManagementService(hall, _abort),
        )
        self._server.add_generic_rpc_handlers(tuple(each.handlers() for each in services))
        others = MiravejaServices(hall, metrics, purposes, _abort)
        self._server.add_generic_rpc_handlers(others.handlers())
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        ours = (inference.SERVICE, registry.SERVICE, management.SERVICE, *miraveja.SERVICES)
        names = (*ours, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        self._serving: bool | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; the bound port. Raises ConfigurationError when it cannot be had."""
        address = addresses.join(host, port)
        try:
            bound = self._server.add_insecure_port(address)
        except RuntimeError:
            bound = 0
        if not bound:
            raise ConfigurationError(
                f"{address} cannot be listened on; is the port taken? Choose another grpc_port"
            )
        await self.serving(now=False)
        await self._server.start()
        return int(bound)

    async def serving(self, *, now: bool) -> None:
        """Say through the health service whether requests are served."""
        if now != self._serving:
            self._serving = now
            for name in ("", inference.SERVICE):
                await self._health.set(name, STATUS.SERVING if now else STATUS.NOT_SERVING)

    async def stop(self, grace_s: float) -> None:
        """Stop listening; calls under way have `grace_s` to end."""
        await self._server.stop(grace_s)


async def _abort(
    context: Any, refusal: Refusal, more: tuple[tuple[str, str], ...] = ()
) -> NoReturn:
    trailing = [(ERROR_CODE, str(refusal.code)), *more]
    if refusal.request_id:
        trailing.append(("modelmora-request-id", refusal.request_id))
    if refusal.retry_after_ms:
        trailing.append(("modelmora-retry-after-ms", str(refusal.retry_after_ms)))
    await context.abort(answer_of(refusal.code).grpc, refusal.message, tuple(trailing))
    raise AssertionError("abort() raises")
