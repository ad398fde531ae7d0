"""What the gateway writes: how much of it is held here, and which topics do not take it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from modelmora.access.signing import Signer
from modelmora.errors import Code
from modelmora.gateway.calls.waiting import unreachable
from modelmora.gateway.outcomes import Refusal
from modelmora.kafka.commands import command_headers
from modelmora.kafka.pulse import Pulse
from modelmora.kafka.requests import nothing
from modelmora.kafka.topics import Topic
from modelmora.kafka.writing.publisher import Answer, Dropped, Publisher, Record, TooLarge
from modelmora.messages import ControlCommand, ControlVerb
from modelmora.settings import Settings
from modelmora.wire import encode_control

ACKNOWLEDGE_S = 2.0  # a produce without answer for so long: the caller is told

SMALL = 1 << 16  # bytes of a request for which there is room when large ones find none


class Writer:
    """Requests and commands on their way to the broker; all content held here is counted."""

    def __init__(
        self,
        settings: Settings,
        publisher: Publisher,
        pulse: Pulse,
        busy: Callable[[str], Refusal],
        signer: Signer | None = None,
    ) -> None:
        self._busy = busy
        self._signer = signer
        self._limit = settings.limits.gateway_bytes
        self._control = Topic.CONTROL.full(settings.namespace)
        self._publisher = publisher
        self._pulse = pulse
        self.held = 0
        self.silent: set[str] = set()
        """Topics on which a produce was given up and nothing has been acknowledged since."""

    def hold(self, size: int, to: int = 0) -> None:
        """Count `size` more bytes of content as held here, `to` by the request; raises Refusal."""
        limit = self._limit
        if self.held + size > (limit * 3 // 4 if max(size, to) > SMALL else limit):
            raise self._busy("too many bytes of requests are held here")
        self.held += size

    def release(self, size: int) -> None:
        """Give back what was held."""
        self.held -= size

    def send(self, record: Record, decided: Callable[[Answer], None]) -> None:
        """Take a record, held until it is decided; returns at once. Raises Refusal (busy)."""
        size, told = len(record.value or b""), record.done
        self.hold(size)

        def done(answer: Answer) -> None:
            self.release(size)
            self.silent.discard(record.topic)
            told(answer)
            decided(answer)

        record.done = done
        self._publisher.send(record)

    async def write(self, record: Record) -> None:
        """Write a record until the broker has it. Raises Refusal."""
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        # Given up, it is not to be written later, when its caller has asked anew.
        record.wanted = lambda: not answered.cancelled()

        def decided(answer: Answer) -> None:
            if not answered.done():
                answered.set_result(answer)

        self.send(record, decided)
        try:
            async with asyncio.timeout(ACKNOWLEDGE_S):
                answer = await answered
        except TimeoutError:
            self.silent.add(record.topic)
            raise unreachable((record.key or b"").decode()) from None
        if isinstance(answer, TooLarge):
            raise too_large(len(record.value or b""))

    def cancel(
        self,
        request_id: str,
        principal: str,
        gateway: str = "",
        wanted: Callable[[], bool] | None = None,
        decided: Callable[[Answer], None] = nothing,
    ) -> None:
        """Tell the nodes that this request is taken back, if there is where to.

        With a `gateway` only what that has written is meant.
        """
        if self._control not in self._pulse.shapes:
            decided(Dropped())
            return
        command = ControlCommand(ControlVerb.CANCEL, request_id, principal)
        headers = command_headers(command, self._signer, gateway)
        value = encode_control(command)
        record = Record(self._control, request_id.encode(), value, decided, headers)
        record.wanted = wanted
        self._publisher.send(record)


def too_large(size: int, request_id: str = "") -> Refusal:
    """The broker's own limit is below ours."""
    return Refusal(
        Code.TOO_LARGE,
        f"the broker takes no record of {size} bytes (its message.max.bytes); "
        "send its inputs in several requests",
        request_id=request_id,
    )
