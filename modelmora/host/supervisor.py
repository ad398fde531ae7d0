"""Keeps the parts of one machine running: started, restarted, stopped in order."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Sequence

from modelmora.errors import ModelMoraError
from modelmora.host.face import SILENT, Face
from modelmora.host.parts import Part
from modelmora.host.policy import Exit, GiveUp, History, PassOn, Restart, after_exit
from modelmora.surroundings import ended_by, on_ending

ONCE_S = 0.1  # timeout(1) tells us, and then our group
# Shares of the time to stop by whose end each part, in the order of stopping, must be gone.
STOP_SHARES = {"gateway": 0.25, "node": 0.85, "broker": 1.0}

log = logging.getLogger(__name__)
_ENDED = "the %s ended with code %d; it is started again in %.1f s"


class Supervisor:
    """Runs parts until a signal, a fault that restarting cannot heal, or `end`.

    One task per part and the signal handlers share their state on one loop. `changed` is called
    whenever a part got ready or told something new.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        changed: Callable[[], None],
        stop_s: float,
        face: Face = SILENT,
    ) -> None:
        self.parts = tuple(parts)
        self._changed = changed
        self._stop_s = stop_s
        self._face = face
        self._broker = next((part for part in parts if part.name == "broker"), None)
        self._broker_ready = asyncio.Event()
        self._end: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.stopping = False
        self._told_at = float("-inf")

    async def run(self) -> int:
        """Start everything and keep it running; returns the exit code once all has stopped.

        Raises ModelMoraError when the broker cannot be started or a part keeps dying.
        """
        give_back = on_ending(self._told)
        keepers = [asyncio.create_task(self._keep(part), name=part.name) for part in self.parts]
        for keeper in keepers:
            keeper.add_done_callback(self._keeper_done)
        try:
            return await self._end
        finally:
            await self._stop(keepers)
            give_back()

    def end(self, code: int) -> None:
        """Stop everything; `run` returns this code."""
        if not self._end.done():
            self._end.set_result(code)

    def fail(self, error: BaseException) -> None:
        """Stop everything; `run` raises this."""
        if not self._end.done():
            self._end.set_exception(error)

    def _told(self, number: signal.Signals) -> None:
        now = time.monotonic()
        if not self._end.done():
            self._told_at = now
            self._face.stopping(number.name, self._stop_s)
        elif now - self._told_at > ONCE_S:
            # Asked a second time: whoever asks does not want to wait.
            self._face.hurried()
            for part in self.parts:
                part.kill()
        self.end(ended_by(number))

    def _keeper_done(self, keeper: asyncio.Task[None]) -> None:
        if not keeper.cancelled() and (error := keeper.exception()):
            self.fail(error)

    async def _keep(self, part: Part) -> None:
        if self._broker is not None and part.waits_for_broker:
            await self._broker_ready.wait()
        history = History()
        while not self.stopping:
            exit_ = await self._run_once(part, history)
            if self.stopping:
                return
            history, decision = after_exit(history, exit_, own_broker=self._broker is not None)
            match decision:
                case PassOn(code):
                    self.end(code)
                    return
                case GiveUp(deaths):
                    raise ModelMoraError(
                        f"the {part.name} died {deaths} times in a row without having been "
                        "ready; its log says why"
                    )
                case Restart(pause):
                    log.warning(_ENDED, part.name, exit_.code, pause)
                    self._on_changed()
                    await asyncio.sleep(pause)

    async def _run_once(self, part: Part, history: History) -> Exit:
        """One run of a part; a first start that fails with words for people raises them."""
        began = time.monotonic()
        try:
            return await part.run(self._on_changed)
        except ModelMoraError as error:
            if not history.ever_ready:
                raise
            log.warning("the %s does not start: %s", part.name, error)
            return Exit(error.exit_code, ready=False, lived_s=time.monotonic() - began)

    def _on_changed(self) -> None:
        if self._broker and self._broker.ready:
            self._broker_ready.set()
        if not self.stopping:
            self._changed()

    async def _stop(self, keepers: Sequence[asyncio.Task[None]]) -> None:
        """Gateway, node, broker; who starts or waits to be restarted is not waited for."""
        self.stopping = True
        began = time.monotonic()
        stops = sorted(self.parts, key=lambda part: STOP_SHARES.get(part.name, 1.0))
        for part in stops:
            until = began + self._stop_s * STOP_SHARES.get(part.name, 1.0)
            asked = time.monotonic()
            ran = part.pid is not None
            await part.stop(max(0.0, until - asked))
            if ran:
                self._face.stopped(part.name, time.monotonic() - asked)
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
