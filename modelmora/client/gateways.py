"""The gateways: their channels, whether they live, and which one a call goes to."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Container
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from modelmora.client.breaker import Breaker
from modelmora.client.errors import CallError, DeadlineExceeded, GatewayUnreachable
from modelmora.client.options import Options
from modelmora.rpc.v1 import inference_pb2_grpc, management_pb2_grpc, registry_pb2_grpc

CHANNEL = (
    ("grpc.enable_retries", 0),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_receive_message_length", -1),
)
_SILENT = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)
log = logging.getLogger(__name__)
log.addHandler(logging.NullHandler())  # else `logging` prints warnings of its own accord


class Gateway:
    """One of them: its breaker, and a channel that is opened on the running loop."""

    def __init__(self, address: str, options: Options) -> None:
        self.address = address
        self.breaker = Breaker()
        if (credentials := options.credentials()) is not None:
            told = (*CHANNEL, *options.channel)
            self.channel = grpc.aio.secure_channel(address, credentials, told)
        else:
            self.channel = grpc.aio.insecure_channel(address, CHANNEL)
        stubs: Any = inference_pb2_grpc, registry_pb2_grpc, management_pb2_grpc
        self.inference = stubs[0].InferenceServiceStub(self.channel)
        self.registry = stubs[1].RegistryServiceStub(self.channel)
        self.management = stubs[2].ManagementServiceStub(self.channel)
        self._health = health_pb2_grpc.HealthStub(self.channel)
        self._heard_s = -math.inf
        self._look: asyncio.Task[bool] | None = None

    def heard(self) -> None:
        """It has said something, if only that it refuses."""
        self._heard_s = time.monotonic()
        self.breaker = self.breaker.succeeded()

    def silent(self) -> None:
        """It does not answer."""
        before = self.breaker.state
        self.breaker = self.breaker.failed(time.monotonic())
        if self.breaker.state is not before:
            log.warning("gateway %s does not answer: %s", self.address, self.breaker.state)

    async def alive(self, within_s: float) -> bool:
        """Whether it has said anything for so long, or does now; all who ask share one look."""
        if time.monotonic() - self._heard_s < within_s:
            return True
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._answers(within_s))
        return await asyncio.shield(self._look)

    async def _answers(self, within_s: float) -> bool:
        # A call of its own: to end the one that waits would cancel its request.
        try:
            await self._health.Check(health_pb2.HealthCheckRequest(), timeout=within_s)
        except grpc.RpcError as error:
            return error.code() not in _SILENT
        except asyncio.CancelledError:  # the channel was closed
            return False
        return True


class Gateways:
    """Several gateways: calls stay with one until it does not answer."""

    def __init__(
        self,
        each: list[Gateway],
        patience_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._each = each
        self._patience_s = patience_s
        self._clock = clock
        self._doubts: set[asyncio.Task[None]] = set()

    def choose(self, but: Container[Gateway] = ()) -> Gateway | None:
        """The gateway for a further attempt; None where none lets calls through."""
        for gateway in self._each:
            if gateway in but:
                continue
            if (asked := gateway.breaker.asked(self._clock())) is not None:
                gateway.breaker = asked
                return gateway
        return None

    def note(self, gateway: Gateway, error: CallError | None) -> None:
        """How an attempt ended; None: with an answer."""
        if isinstance(error, GatewayUnreachable):
            self.missed(gateway)
        elif isinstance(error, DeadlineExceeded):
            self.doubt(gateway)
        else:
            gateway.heard()

    def missed(self, gateway: Gateway) -> None:
        """It does not answer: others are asked first from now on."""
        gateway.silent()
        self._each.remove(gateway)
        self._each.append(gateway)

    def doubt(self, gateway: Gateway) -> None:
        """A call's time was over before anything was heard: look whether it is the gateway."""

        async def look() -> None:
            if await gateway.alive(self._patience_s):
                gateway.heard()
            else:
                self.missed(gateway)

        task = asyncio.create_task(look())
        self._doubts.add(task)
        task.add_done_callback(self._doubts.discard)

    async def close(self) -> None:
        """Close the channels; calls under way end."""
        for doubt in self._doubts:
            doubt.cancel()
        for gateway in self._each:
            await gateway.channel.close()
