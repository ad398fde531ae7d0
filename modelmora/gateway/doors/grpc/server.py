"""The gRPC server: our services, health and reflection."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from modelmora import addresses
from modelmora.access.certificates import Certificates, Content
from modelmora.errors import ConfigurationError
from modelmora.gateway.doors.grpc import audit, deadletters, inference, management, registry, rights
from modelmora.gateway.doors.grpc.audit import AuditService
from modelmora.gateway.doors.grpc.deadletters import DeadLetterService
from modelmora.gateway.doors.grpc.inference import InferenceService
from modelmora.gateway.doors.grpc.management import ManagementService
from modelmora.gateway.doors.grpc.registry import RegistryService
from modelmora.gateway.doors.grpc.rights import RightsService
from modelmora.gateway.doors.guarded import RpcGuard
from modelmora.gateway.doors.miraveja import rpc as miraveja
from modelmora.gateway.doors.miraveja.rpc import MiravejaServices
from modelmora.gateway.doors.oip import service as oip
from modelmora.gateway.hall import Hall
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.rights.guard import EVERYBODY, Guard
from modelmora.gateway.rights.permits import EVERYTHING, Permits
from modelmora.settings import Purposes
from modelmora.surroundings import connections

CONNECTIONS = 2048  # those of a client carry all of its calls
GREETING_MS = 10_000  # a caller that has not said by then that it speaks HTTP/2 is gone
UNUSED_MS = 300_000  # a connection without calls for so long ends; clients make a new one
STREAMS = 256  # calls of one connection at once; a client lets the next one wait
UNTAKEN_S = 3_600  # by default gRPC ends a call that has waited 30 s for its turn as CANCELLED
KEEPALIVE_MS = 30_000  # a caller whose machine says nothing for twice as long is gone
SERVICES = (
    inference.SERVICE,
    registry.SERVICE,
    management.SERVICE,
    rights.SERVICE,
    deadletters.SERVICE,
    audit.SERVICE,
    oip.SERVICE,
    *miraveja.SERVICES,
)
METADATA_BYTES = 16 << 10
STATUS = health_pb2.HealthCheckResponse


class RpcServer:
    """The gRPC server with health and reflection beside the service."""

    def __init__(
        self,
        hall: Hall,
        metrics: Metrics,
        request_bytes: int,
        guard: Guard = EVERYBODY,
        permits: Permits = EVERYTHING,
        *,
        purposes: Purposes = Purposes(),  # noqa: B008  (frozen)
        certificates: Certificates | None = None,
    ) -> None:
        self._credentials = (
            credentials(certificates, clients=guard.needs_certificate) if certificates else None
        )
        self._server = grpc.aio.server(
            interceptors=(RpcGuard(guard, permits, metrics),),
            options=(
                # Without it a taken port is shared in silence.
                ("grpc.so_reuseport", 0),
                # Room above the limit, so that our own code tells it to the caller.
                ("grpc.max_receive_message_length", 2 * request_bytes + (1 << 20)),
                ("grpc.max_send_message_length", -1),
                # Without it calls that are taken back at once fill the queue in which all wait, and
                # gRPC then drops some of anybody's.
                ("grpc.max_concurrent_streams", STREAMS),
                ("grpc.server_max_unrequested_time_in_server", UNTAKEN_S),
                ("grpc.max_allowed_incoming_connections", connections(CONNECTIONS)),
                ("grpc.server_handshake_timeout_ms", GREETING_MS),
                ("grpc.max_connection_idle_ms", UNUSED_MS),
                # Both, for between them gRPC refuses some calls and some not, by chance.
                ("grpc.max_metadata_size", METADATA_BYTES),
                ("grpc.absolute_max_metadata_size", METADATA_BYTES),
                # A caller may ask as often as it likes whether we are there; so do we.
                ("grpc.http2.max_ping_strikes", 0),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.keepalive_time_ms", KEEPALIVE_MS),
                ("grpc.keepalive_timeout_ms", KEEPALIVE_MS),
            ),
        )
        services = (
            InferenceService(hall, metrics),
            RegistryService(hall),
            ManagementService(hall),
            RightsService(hall, permits),
            DeadLetterService(hall),
            AuditService(hall),
            oip.OpenInferenceService(hall, metrics),
        )
        self._server.add_generic_rpc_handlers(tuple(each.handlers() for each in services))
        others = MiravejaServices(hall, metrics, purposes)
        self._server.add_generic_rpc_handlers(others.handlers())
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        self._serving: bool | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; the bound port. Raises ConfigurationError when it cannot be had."""
        address = addresses.join(host, port)
        try:
            if self._credentials is None:
                bound = self._server.add_insecure_port(address)
            else:
                bound = self._server.add_secure_port(address, self._credentials)
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
            for name in ("", *SERVICES):
                await self._health.set(name, STATUS.SERVING if now else STATUS.NOT_SERVING)

    async def leave(self) -> None:
        """Say from now on that nothing is served, whatever is said later."""
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace_s: float) -> None:
        """Stop listening; calls under way have `grace_s` to end."""
        await self._server.stop(grace_s)


def credentials(certificates: Certificates, *, clients: bool) -> Any:
    """What the server shows, asked for at each new connection; with `clients` so must callers.

    To ask for a certificate without needing one is nothing that gRPC's Python can do.
    """
    given = certificates.now()

    def changed() -> Any:
        nonlocal given
        if (now := certificates.now()) is given:
            return None
        given = now
        return configuration(now)

    def configuration(content: Content) -> Any:
        pairs, authorities = [(content.key, content.chain)], content.authorities
        return grpc.ssl_server_certificate_configuration(pairs, authorities if clients else None)

    return grpc.dynamic_ssl_server_credentials(configuration(given), changed, clients)
