"""Which TCP ports of this machine can be listened on, asked by binding them for a moment."""

from __future__ import annotations

import contextlib
import errno
import itertools
import random
import socket
from functools import partial
from pathlib import Path

from modelmora import addresses
from modelmora.errors import ConfigurationError

LOWEST = 20_000
EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
TRIES = 200


def any_ports(host: str, count: int) -> list[int]:
    """`count` different ports that nobody listens on.

    They lie below the range from which the system gives ports to outgoing connections: while a
    server of ours is down, a client that keeps reconnecting to a port in that range can be given
    the very same port, connect to itself, and so keep the server from coming back.
    """
    candidates = random.SystemRandom().sample(range(LOWEST, _ephemeral_start()), TRIES)
    free = list(itertools.islice(filter(partial(is_free, host), candidates), count))
    if len(free) < count:
        raise ConfigurationError(f"{host} has no free ports from {LOWEST}; is that its address?")
    return free


def _ephemeral_start() -> int:
    try:
        start = int(EPHEMERAL_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        start = 32_768
    return start if start >= LOWEST + TRIES else 65_536


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen on this port now; TIME_WAIT does not count."""
    with contextlib.suppress(OSError):
        _bind(host, port)
        return True
    return False


def require_free(host: str, port: int, purpose: str) -> int:
    """Return `port` when a server could listen on it now; 0, which stands for any, always could.

    Raises ConfigurationError (port taken, not permitted, no such address).
    """
    try:
        _bind(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = "is taken; stop what uses it or choose another (0 = any)"
        else:
            reason = f"cannot be used: {error.strerror or error}"
        raise ConfigurationError(f"port {port} on {host} for {purpose} {reason}") from None
    return port


def _bind(host: str, port: int) -> None:
    with socket.socket(addresses.family(host)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
