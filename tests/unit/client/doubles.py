"""Gateways in threads of their own, which can stand still or die; a store behind signed URLs."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from modelmora.gateway.doors.grpc.server import RpcServer
from modelmora.gateway.metrics import Metrics
from modelmora.testing.objects import MemoryStore
from tests.unit.gateway.fakes import FakeHall

CAP_S = 30


class Gateway:
    """The gateway's own gRPC door over a `FakeHall`, on a loop that can be stopped."""

    def __init__(self) -> None:
        self.hall = FakeHall(limit=1 << 30)
        self.address = ""
        self._thaw = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.run(self._start())
        return self

    async def _start(self) -> None:
        self._server = RpcServer(self.hall, Metrics(), 1 << 27)
        await self._server.serving(now=True)
        self.address = f"127.0.0.1:{await self._server.start('127.0.0.1', 0)}"

    def run(self, work: Any) -> Any:
        """Wait for this, on its loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CAP_S)

    def entered(self) -> None:
        """Wait until a request is there."""
        self.run(asyncio.wait_for(self.hall.entered.wait(), CAP_S))

    def gone(self) -> bool:
        """Whether a request was taken back."""
        return self.hall.gone.is_set()

    def block(self) -> None:
        """Requests do not end until `unblock`."""
        self.hall.entered.clear()
        self.hall.blocked = asyncio.Event()

    def unblock(self) -> None:
        """They end."""
        blocked, self.hall.blocked = self.hall.blocked, None
        if blocked:
            self._loop.call_soon_threadsafe(blocked.set)

    def freeze(self) -> None:
        """It stands still: takes nothing, says nothing, and closes no connection."""
        frozen = threading.Event()

        def stand() -> None:
            frozen.set()
            self._thaw.wait(CAP_S)

        self._loop.call_soon_threadsafe(stand)
        assert frozen.wait(CAP_S)

    def thaw(self) -> None:
        """It goes on."""
        self._thaw.set()

    def stop(self) -> None:
        """It stops, and cuts what is under way."""
        self.run(self._server.stop(0))

    def __exit__(self, *_: object) -> None:
        self.thaw()
        self.unblock()
        self.run(self._server.stop(0))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CAP_S)
        self._loop.close()


class Shop:
    """An HTTP server over a MemoryStore, whose URLs lead to it.

    `cut`, asked before it answers, ends an answer early.
    """

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.cut: Callable[[], int | None] = lambda: None
        self.refuses = 0
        self.asked: list[str] = []
        shop = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                data = self.rfile.read(int(self.headers["content-length"]))
                shop.asked.append("PUT")
                shop.cut()
                if shop.refuses:
                    shop.refuses -= 1
                    self.send_error(503)
                    return
                store.kept[store.home + self.path[1:]] = data, self.headers["content-type"]
                self.send_response(201)
                self.end_headers()

            def do_GET(self) -> None:
                ranged = self.headers.get("range")
                shop.asked.append(ranged or "GET")
                kept = store.kept.get(store.home + self.path[1:])
                if kept is None:
                    self.send_error(404)
                    return
                start = int(re.findall(r"\d+", ranged)[0]) if ranged else 0
                data = kept[0][start:]
                self.send_response(206 if ranged else 200)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: shop.cut()])

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self.address = f"127.0.0.1:{self._server.server_port}"
        signed: Any = lambda _verb, name, *_: f"http://{self.address}/{name}"  # noqa: E731
        store.sign = signed  # type: ignore[method-assign]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(CAP_S)
