"""One connection: uvicorn's protocol, with bounds on heads and times and an end that is clean."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from modelmora.errors import Code
from modelmora.surroundings import connections
from modelmora.web.problems import DoorCode, problem

HEAD_BYTES = 64 * 1024  # request line and headers, trailers too
WAITING = 100  # requests sent on one connection before the one in front is answered
HEAD_S = 30.0  # from the first byte awaited to the last of the head
IDLE = 4096  # connections of a server that have sent no whole request; the oldest makes room
LINGER_S = 2.0  # so long an answered caller may go on sending before it is cut off
PROBE_S = (0.1, 5.0)  # the first and the longest wait between two looks at a silent caller
PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"
CERTIFICATE = "modelmora.certificate"
"""Of a scope: the verified certificate of its connection's client (DER), where it has shown one."""


class _Refused(Exception):
    """Raised within the parser: status, code and detail of the answer."""


class Line:
    """A transport that, closed with input unread, lets its peer read the answer first.

    Closing at once would make the kernel answer that input with a reset, which takes the answer
    away from the peer.
    """

    def __init__(self, transport: asyncio.Transport, unread: Callable[[], bool]) -> None:
        self._transport = transport
        self._unread = unread
        self.lingering: asyncio.TimerHandle | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Whether nothing more is to be written."""
        return self.lingering is not None or self._transport.is_closing()

    def close(self) -> None:
        """Send what is written, then end."""
        if self.is_closing():
            return
        if not self._unread():
            self._transport.close()
            return
        self.lingering = asyncio.get_running_loop().call_later(LINGER_S, self._transport.abort)
        if not self._transport.can_write_eof():  # TLS has no half of an end
            self._transport.resume_reading()
            return
        try:
            self._transport.write_eof()
        except OSError:  # it has been reset
            self._transport.abort()
        else:
            self._transport.resume_reading()


class Protocol(HttpToolsProtocol):
    """HTTP/1 of one caller.

    A caller that ends its sending side after a whole request is answered still. Whether it is gone
    altogether shows only where something is written: a silent one is told 102 now and then.
    """

    transport: Any

    def connection_made(self, transport: Any) -> None:
        """A caller has connected."""
        self._line = Line(transport, self._unread)
        self._head_bytes = self._idle_bytes = 0
        self._in_head = self._upgrading = self._ended = self._broken = False
        self._probing: asyncio.TimerHandle | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        tls = transport.get_extra_info("ssl_object")
        self._tls = tls is not None
        self._certificate = tls.getpeercert(binary_form=True) if tls else None
        super().connection_made(self._line)  # type: ignore[arg-type]
        # The connections of this server that have sent no whole request, the oldest first.
        self._idle: dict[Protocol, None] = vars(self.server_state).setdefault("idle", {})
        self._await_head()
        self._is_idle()

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller is gone."""
        for timer in (self._head_timer, self._probing, self._line.lingering):
            if timer:
                timer.cancel()
        self._idle.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of the caller; those after its end, or ours, are thrown away."""
        if self._line.lingering or self._ended:
            return
        self._unset_keepalive_if_required()
        self._idle_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserCallbackError as error:
            why = error.__context__
            self._refuse(*(why.args if isinstance(why, _Refused) else _MALFORMED))
            return
        except httptools.HttpParserError:
            self._refuse(*_MALFORMED)
            return
        if self._idle_bytes > HEAD_BYTES:
            self._refuse(*_TOO_LARGE)
        elif not self._answering():
            self._await_head()

    def eof_received(self) -> bool:  # type: ignore[override]
        """The caller has ended its side; the connection stays while it is owed an answer.

        One of TLS ends as a whole.
        """
        if self._tls or self._line.is_closing() or not self._answering() or self.cycle.more_body:
            return False
        self._ended = True
        self._probe_in(PROBE_S[0])
        return True

    # Parser callbacks ----------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head, self._head_bytes = True, 0
        self._is_idle()
        super().on_message_begin()
        if self._certificate:
            self.scope[CERTIFICATE] = self._certificate  # type: ignore[literal-required]

    def on_url(self, url: bytes) -> None:
        """A part of the request line."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One whole header, or trailer."""
        self._count(len(name) + len(value) + len(": \r\n"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """A whole head."""
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None
        self._in_head, self._idle_bytes = False, 0
        if self.url == b"*":
            self.url = b"/*"  # no path, which the parser of URLs would not take
        if len(self.pipeline) == WAITING:
            raise _Refused(*_MALFORMED)  # what was taken is answered, then the connection ends
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1 or (hosts == 0 and self.parser.get_http_version() == "1.1"):
            raise _Refused(*_NO_HOST)  # RFC 9112, section 3.2
        method = self.parser.get_method()
        self._upgrading = self.parser.should_upgrade() and method != b"CONNECT"
        if self._upgrading:
            self.scope["method"] = method.decode("ascii")
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of a body."""
        self._idle_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A whole request."""
        self._idle_bytes = 0
        self._idle.pop(self, None)
        if not self._upgrading:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer is written."""
        super().on_response_complete()
        # The rest of a body that was answered unread could be of any size.
        if self._answering():
            return
        if self._ended or self._unread():
            self.transport.close()
        self._is_idle()

    # ---------------------------------------------------------------------------------------------

    def _is_idle(self) -> None:
        """Nothing whole has been sent here; where too many are so, the oldest ends."""
        idle = self._idle
        idle[self] = None
        if len(idle) > connections(IDLE):
            oldest = next(iter(idle))
            del idle[oldest]
            oldest._make_room()

    def _make_room(self) -> None:
        if self._in_head or self._answering():
            self._refuse(*_CROWDED)
        else:
            self.transport.close()

    def _answering(self) -> bool:
        """Whether a request waits for its answer."""
        return bool(self.pipeline) or (self.cycle is not None and not self.cycle.response_complete)

    def _unread(self) -> bool:
        return self._broken or (self.cycle is not None and self.cycle.more_body)

    def _count(self, size: int) -> None:
        self._head_bytes += size
        self._idle_bytes = 0
        if self._head_bytes > HEAD_BYTES:
            raise _Refused(*_TOO_LARGE)

    def _decline_upgrade(self, rest: bytes) -> None:
        """Go on as if the caller had not offered to speak another protocol.

        The parser takes what follows the head for that protocol, so it is given the head anew.
        Java's client makes the offer (h2c) with each first request.
        """
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        method = self.scope["method"].encode()
        fields = [field for field in self.headers if field[0] not in _OF_AN_UPGRADE]
        lines = b"".join(b"%s: %s\r\n" % field for field in fields)
        self.data_received(b"%s %s HTTP/1.1\r\n%s\r\n%s" % (method, self.url, lines, rest))

    def _await_head(self) -> None:
        if self._head_timer is None and not self._line.is_closing():
            self._head_timer = self.loop.call_later(HEAD_S, self._head_overdue)

    def _head_overdue(self) -> None:
        if self._line.is_closing():
            return  # its end is not told yet
        if self._in_head:
            self._refuse(*_TOO_SLOW)
        else:
            self.transport.close()

    def _refuse(self, status: HTTPStatus, code: Code | DoorCode, detail: str) -> None:
        """Answer what is no request and end; an answer that is owed before it goes first."""
        self._broken = True
        if self._answering() and not self._give_up_body():
            self._ended = True
            return
        response = problem({"type": "http", "path": ""}, status, code, detail)
        head = b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode())
        fields = (*response.raw_headers, (b"connection", b"close"))
        lines = b"".join(b"%s: %s\r\n" % field for field in fields)
        self.transport.write(head + lines + b"\r\n" + bytes(response.body))
        self.transport.close()

    def _give_up_body(self) -> bool:
        """Tell a request that its body will not be whole; False where there is none such."""
        cycle = self.cycle
        if self.pipeline or cycle.response_started or not cycle.more_body:
            return False
        cycle.disconnected = True
        cycle.message_event.set()
        return True

    def _probe_in(self, seconds: float) -> None:
        self._probing = self.loop.call_later(seconds, self._probe, seconds)

    def _probe(self, waited_s: float) -> None:
        alone = not self.pipeline and self.cycle.scope["http_version"] == "1.1"
        if alone and not self.cycle.response_started:
            self.transport.write(PROCESSING)
        self._probe_in(min(2 * waited_s, PROBE_S[1]))


_OF_AN_UPGRADE = (b"connection", b"upgrade", b"http2-settings")
_MALFORMED = (HTTPStatus.BAD_REQUEST, DoorCode.MALFORMED, "this is no well-formed HTTP/1.1")
_NO_HOST = (HTTPStatus.BAD_REQUEST, DoorCode.MALFORMED, "HTTP/1.1 needs one Host header")
_TOO_LARGE = (
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    DoorCode.HEAD_TOO_LARGE,
    f"request line and headers have more than {HEAD_BYTES} bytes",
)
_CROWDED = (
    HTTPStatus.SERVICE_UNAVAILABLE,
    Code.BUSY,
    "too many connections have sent no whole request, and this is the oldest; try again",
)
_TOO_SLOW = (
    HTTPStatus.REQUEST_TIMEOUT,
    DoorCode.TOO_SLOW,
    f"no whole request head came within {HEAD_S:.0f} s",
)
