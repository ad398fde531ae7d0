"""`python -m modelmora.agents`: the node as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys

import structlog
import uvloop
from aiokafka.errors import KafkaConnectionError, KafkaError

from modelmora.agents.node import Node
from modelmora.errors import ModelMoraError, Unreachable
from modelmora.kafka.admin import Admin, check_lanes
from modelmora.kafka.topics import Topic
from modelmora.settings import Settings, load_settings
from modelmora.telemetry.logs import configure

log = structlog.get_logger(__name__)


def prepare_topics(settings: Settings) -> int:
    """Create the topics where that is allowed; returns the partition count of `results`.

    Raises ConfigurationError where they are not as they must be, Unreachable without a broker.
    """
    admin = Admin(settings)
    states = admin.create() if settings.topics.create else admin.describe()
    check_lanes(states)
    for state in states:
        for fault in state.differs:
            log.warning("topic differs from the table", topic=state.name, what=fault)
    return next(state.partitions for state in states if state.topic is Topic.RESULTS)


async def run(settings: Settings) -> int:
    """Run one node until it is told to stop; returns the exit code."""
    replies = await asyncio.to_thread(prepare_topics, settings)
    node = Node(settings, replies)
    stop: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, _stop, stop)
    # Nothing that hangs may keep a stopping node alive: the deadline ends it whatever happens.
    try:
        starting = asyncio.create_task(node.start())
        stop.add_done_callback(lambda _: starting.cancel())
        with contextlib.suppress(asyncio.CancelledError):
            await starting
            await asyncio.wait({stop, node.failure}, return_when=asyncio.FIRST_COMPLETED)
    except KafkaConnectionError as error:
        raise Unreachable(f"no broker answers at {settings.bootstrap_servers}") from error
    finally:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(node.stop(), settings.timing.stop_s)
    return node.failure.result() if node.failure.done() else 0


def _stop(stop: asyncio.Future[int]) -> None:
    if not stop.done():
        stop.set_result(0)


def main() -> None:
    """Start the node with the settings of the environment; never returns."""
    code = 1
    try:
        settings = load_settings()
        configure(settings.log)
        code = uvloop.run(run(settings))
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
        # Faust's threads can outlive the loop after a failure; the process must not.
        os._exit(code)


if __name__ == "__main__":
    main()
