"""A node as a process: its topics, its signals, its exit code."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from functools import partial
from typing import NoReturn

import structlog
from aiokafka.errors import KafkaConnectionError, KafkaError

from modelmora.errors import ModelMoraError, Unreachable
from modelmora.kafka.acls import Component
from modelmora.kafka.admin import Admin, check_lanes
from modelmora.kafka.schema_registry import Schemas
from modelmora.node.lookout import EXIT_CODE
from modelmora.node.node import Node
from modelmora.settings import Settings
from modelmora.surroundings import on_ending
from modelmora.telemetry.standstill import Standstill
from modelmora.workers.handle import Spawned

log = structlog.get_logger(__name__)


def prepare_topics(settings: Settings) -> None:
    """Create the topics where that is allowed.

    Raises ConfigurationError where they are not as they must be, NotAllowed where the broker denies
    what a node does with them, Unreachable without a broker.
    """
    admin = Admin(settings)
    admin.require(Component.NODE)
    states = admin.create() if settings.topics.create else admin.describe()
    check_lanes(states)
    for state in states:
        for fault in state.differs:
            log.warning("topic differs from the table", topic=state.name, what=fault)
    if settings.topics.create and (refusal := admin.configure_group()):
        log.warning("the group keeps the broker's session and heartbeat", reason=refusal)


async def run(settings: Settings, zygote: Spawned | None = None) -> int:
    """Run one node until it is told to stop; returns the exit code."""
    schemas = Schemas.of(settings)
    node = Node(settings, schemas, zygote)
    standstill = Standstill(settings.timing.watchdog_s, partial(os._exit, EXIT_CODE))
    standstill.start()
    node.metrics.read("modelmora_loop_stall_seconds", standstill.longest_s)
    node.wellness.stalled_s = standstill.longest_s
    await node.begin()
    await asyncio.to_thread(prepare_topics, settings)
    if schemas:
        await asyncio.to_thread(schemas.register)
    stop: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    on_ending(lambda _number: _stop(stop))
    try:
        starting = asyncio.create_task(node.start())
        for end in (stop, node.failure):
            end.add_done_callback(lambda _: starting.cancel())
        with contextlib.suppress(asyncio.CancelledError):
            await starting
            await asyncio.wait({stop, node.failure}, return_when=asyncio.FIRST_COMPLETED)
    except KafkaConnectionError as error:
        raise Unreachable(f"no broker answers at {settings.bootstrap_servers}") from error
    finally:
        # What hangs may not keep a stopping node alive, not even by ignoring its cancellation.
        await asyncio.wait({asyncio.create_task(node.stop())}, timeout=settings.timing.stop_s)
    return node.failure.result() if node.failure.done() else 0


def _stop(stop: asyncio.Future[int]) -> None:
    if not stop.done():
        stop.set_result(0)


async def live(settings: Settings, zygote: Spawned | None = None) -> NoReturn:
    """Run a node, then end the process."""
    code = 1
    try:
        code = await run(settings, zygote)
    except ModelMoraError as error:
        sys.stderr.write(f"modelmora: {error}\n")
        code = error.exit_code
    except KafkaError as error:
        sys.stderr.write(f"modelmora: the broker refused: {error!r}\n")
        code = 4
    except Exception:
        log.exception("the node failed")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Faust's threads and the clients of a dead broker can outlive the loop, or hold up its
        # end for minutes; the process must not wait for them.
        os._exit(code)
