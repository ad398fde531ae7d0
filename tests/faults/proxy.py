"""A TCP proxy before a broker that does what networks do: cuts, swallows, delays, drops."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TypeVar
from weakref import WeakSet

from modelmora.broker import EmbeddedBroker
from modelmora.broker.config import HOST, PROPERTIES

FETCH = 1
"""The number of Kafka's requests for records."""
SIZE = 4
CHUNK = 1 << 16
Result = TypeVar("Result")


class Proxy:
    """A context manager that listens at `address` and passes on to `port`.

    Its verbs may be called from any thread; `heal` takes all of them back. They hold for the
    connections there are and for those that come.
    """

    def __init__(self, port: int = 0) -> None:
        self.target = port
        self.dropped = 0
        """Requests that `drop` has swallowed."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._listening: asyncio.Server | None = None
        self._ends: WeakSet[asyncio.WriteTransport] = WeakSet()
        self._port = 0
        self._reset()

    def _reset(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._delay_s = 0.0
        self._bytes_s: float | None = None
        self._dropping: frozenset[int] = frozenset()
        self._half = False

    @property
    def address(self) -> str:
        """`127.0.0.1:port`, the same as long as it lives."""
        return f"{HOST}:{self._port}"

    @property
    def port(self) -> int:
        """Of `address`."""
        return self._port

    # Verbs ---------------------------------------------------------------------------------------

    def cut(self) -> None:
        """Reset every connection, both sides; new ones are served."""
        self._do(self._cut)

    def refuse(self) -> None:
        """Reset every connection and refuse new ones."""
        self._do(self._refuse)

    def black_hole(self) -> None:
        """Accept, and pass nothing on in either direction; nothing is lost of a connection."""
        self._do(lambda: self._open.clear())

    def half_open(self) -> None:
        """The broker goes on hearing clients, which hear nothing of it any more."""
        self._do(lambda: setattr(self, "_half", True))

    def delay(self, seconds: float) -> None:
        """Hold back what passes, in both directions, by so much a piece."""
        self._do(lambda: setattr(self, "_delay_s", seconds))

    def limit(self, bytes_s: float) -> None:
        """Let no more than this many bytes a second through, a connection and direction."""
        self._do(lambda: setattr(self, "_bytes_s", bytes_s))

    def drop(self, requests: Iterable[int]) -> None:
        """Swallow Kafka requests of these numbers, as `FETCH`; what else there is passes."""
        self._do(lambda: setattr(self, "_dropping", frozenset(requests)))

    def heal(self) -> None:
        """Pass everything on again; connections that have lost something are reset."""
        self._do(self._heal)

    # The loop's ----------------------------------------------------------------------------------

    def _do(self, verb: Callable[[], object]) -> None:
        async def run() -> None:
            done = verb()
            if asyncio.iscoroutine(done):
                await done

        self._wait(run())

    def _wait(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def _cut(self) -> None:
        for transport in list(self._ends):
            end: socket.socket = transport.get_extra_info("socket")
            with suppress(OSError):  # it is closed
                # Lingering for no time ends a connection by RST.
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()

    async def _refuse(self) -> None:
        if self._listening:
            self._listening.close()
            self._listening = None
        self._cut()

    async def _heal(self) -> None:
        lost = self._half or self._dropping
        opened = self._open
        self._reset()
        opened.set()
        if lost:
            self._cut()
        await self._listen()

    async def _listen(self) -> None:
        if self._listening is None:
            self._listening = await asyncio.start_server(
                self._serve, HOST, self._port, reuse_address=True
            )
            self._port = self._listening.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends.add(writer.transport)
        ends = [writer]
        try:
            await self._open.wait()
            there, onward = await asyncio.open_connection(HOST, self.target)
            self._ends.add(onward.transport)
            ends.append(onward)
            await asyncio.gather(self._requests(reader, onward), self._answers(there, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            for end in ends:
                end.close()

    async def _requests(self, reader: asyncio.StreamReader, onward: asyncio.StreamWriter) -> None:
        """Whole requests: the size in four bytes, then the number in two."""
        while True:
            size = await reader.readexactly(SIZE)
            body = await reader.readexactly(int.from_bytes(size, "big"))
            if int.from_bytes(body[:2], "big") in self._dropping:
                self.dropped += 1
            else:
                await self._pass(size + body, onward)

    async def _answers(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await there.read(CHUNK):
            if not self._half:
                await self._pass(piece, writer)
        raise asyncio.IncompleteReadError(b"", None)

    async def _pass(self, piece: bytes, to: asyncio.StreamWriter) -> None:
        await self._open.wait()
        rate_s = len(piece) / self._bytes_s if self._bytes_s else 0.0
        if self._delay_s or rate_s:
            await asyncio.sleep(self._delay_s + rate_s)
        to.write(piece)
        await to.drain()

    def __enter__(self) -> Self:
        self._thread.start()
        self._wait(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._refuse)
        self._wait(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        await _turns()  # what was accepted just now has begun behind them
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        self._cut()
        await _turns()


async def _turns() -> None:
    """Let the loop do all that was ready, and what that made ready."""
    for _ in range(10):
        await asyncio.sleep(0)


class Proxied(EmbeddedBroker):
    """A broker that is reached through the proxy alone: `bootstrap_servers` is the proxy's too."""

    def __init__(self, folder: Path, proxy: Proxy) -> None:
        super().__init__(folder)
        self._proxy = proxy

    @property
    def bootstrap_servers(self) -> str:
        """`127.0.0.1:port` of the proxy."""
        return self._proxy.address

    def _prepare(self) -> None:
        super()._prepare()
        self._proxy.target = self.port
        path = self.folder / PROPERTIES
        own, told = f"PLAINTEXT://{HOST}:{self.port}", f"PLAINTEXT://{self._proxy.address}"
        lines = path.read_text().splitlines()
        path.write_text(
            "".join(
                f"{line.replace(own, told) if line.startswith('advertised.') else line}\n"
                for line in lines
            )
        )
