"""The embedded broker by itself, in the foreground, until a signal or its own end."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable

from modelmora.broker.embedded import EmbeddedBroker
from modelmora.broker.jars import Progress
from modelmora.settings import Settings
from modelmora.surroundings import ended_by, on_ending


def run_broker(
    settings: Settings,
    *,
    on_ready: Callable[[EmbeddedBroker], None] | None = None,
    progress: Progress | None = None,
) -> int:
    """Start the broker, say where it listens, stop it at SIGINT (130) or SIGTERM (0).

    Listens on `settings.broker_port` (None or 0: see `choose_ports`) and keeps its data
    in `settings.data_dir`. `on_ready` replaces the line on standard output. Raises what
    `EmbeddedBroker.start` raises, and its fault when the broker ends by itself.
    """
    return asyncio.run(_serve(settings, on_ready or _say, progress))


def _say(broker: EmbeddedBroker) -> None:
    sys.stdout.write(f"{broker.bootstrap_servers}\n")
    sys.stdout.flush()


async def _serve(
    settings: Settings, on_ready: Callable[[EmbeddedBroker], None], progress: Progress | None
) -> int:
    loop = asyncio.get_running_loop()
    told: asyncio.Future[signal.Signals] = loop.create_future()

    def tell(number: signal.Signals) -> None:
        if not told.done():
            told.set_result(number)

    on_ending(tell)
    broker = EmbeddedBroker(settings.data_dir, settings.broker_port, progress=progress)
    starting = asyncio.create_task(broker.start_async())
    await asyncio.wait((starting, told), return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.wait((starting,))
    else:
        await starting
        on_ready(broker)
        ended = asyncio.create_task(asyncio.to_thread(broker.wait))
        await asyncio.wait((ended, told), return_when=asyncio.FIRST_COMPLETED)
        if not told.done():
            raise broker.fault()
        await broker.stop_async(settings.timing.stop_s)
    return ended_by(told.result())
