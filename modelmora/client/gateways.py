"""Which gateway a call goes to, how long it may take, and when it is tried again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import stamina

from modelmora.client.breaker import Breaker
from modelmora.client.errors import CallError, DeadlineExceeded, GatewayUnreachable

CHANNEL = (
    ("grpc.enable_retries", 0),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_receive_message_length", -1),
)


@dataclass(frozen=True, slots=True)
class Options:
    """How a client calls.

    `timeout_s` bounds a call with all its attempts, of which there are at most `attempts`.
    `api_key` is sent as `authorization: Bearer`. With `tls` the channel is encrypted, and `ca`
    (PEM) are the authorities that are trusted instead of the system's.
    """

    timeout_s: float = 60.0
    attempts: int = 8
    api_key: str | None = None
    tls: bool = False
    ca: bytes | None = None

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What is sent with every call."""
        return (("authorization", f"Bearer {self.api_key}"),) if self.api_key else ()

    def credentials(self) -> Any:
        """Those of an encrypted channel; None for a plain one."""
        return grpc.ssl_channel_credentials(self.ca) if self.tls or self.ca else None


class Gateways:
    """The breakers of several gateways: calls stay with one until it answers no more."""

    def __init__(self, count: int, clock: Callable[[], float] = time.monotonic) -> None:
        if not count:
            raise ValueError("one gateway at least is needed")
        self._breakers = [Breaker() for _ in range(count)]
        self._first = 0
        self._clock = clock
        self._lock = threading.Lock()

    @contextmanager
    def trying(self) -> Iterator[int]:
        """The gateway for one attempt, and its outcome noted. Raises GatewayUnreachable."""
        at = self._choose()
        try:
            yield at
        except (GatewayUnreachable, DeadlineExceeded):
            self._note(at, lambda breaker: breaker.failed(self._clock()))
            with self._lock:
                if self._first == at:
                    self._first = (at + 1) % len(self._breakers)
            raise
        except CallError:
            self._note(at, Breaker.succeeded)
            raise
        except BaseException:
            self._note(at, Breaker.abandoned)
            raise
        else:
            self._note(at, Breaker.succeeded)

    def _choose(self) -> int:
        with self._lock:
            for step in range(len(self._breakers)):
                at = (self._first + step) % len(self._breakers)
                if (asked := self._breakers[at].asked(self._clock())) is not None:
                    self._breakers[at] = asked
                    return at
        raise GatewayUnreachable("unreachable", "no gateway has answered of late; is one running?")

    def _note(self, at: int, change: Callable[[Breaker], Breaker]) -> None:
        with self._lock:
            self._breakers[at] = change(self._breakers[at])


class Course:
    """One call: its time over all attempts, and what is tried again."""

    def __init__(self, options: Options, timeout_s: float | None) -> None:
        self._whole_s = options.timeout_s if timeout_s is None else timeout_s
        self._end_s = time.monotonic() + self._whole_s
        self._attempts = options.attempts

    def left_s(self) -> float:
        """Seconds for the attempt that begins now. Raises DeadlineExceeded."""
        left = self._end_s - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded("expired", f"no answer within {self._whole_s:g} s")
        return left

    def attempts(self) -> Any:
        """The attempts, as stamina makes them, with growing and jittered waits between."""
        return stamina.retry_context(
            on=self._again, attempts=self._attempts, timeout=self._whole_s, wait_max=2.0
        )

    def _again(self, error: Exception) -> bool | float:
        if not isinstance(error, CallError) or not error.again:
            return False
        wait_s = (error.retry_after_ms or 0) / 1000
        if time.monotonic() + wait_s >= self._end_s:
            return False
        return wait_s or True
