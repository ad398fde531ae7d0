"""Host and port to `host:port` and back, IPv6 in brackets (RFC 3986, section 3.2.2)."""

from __future__ import annotations

import ipaddress
import socket


def join(host: str, port: int) -> str:
    """`127.0.0.1:8080`, `[::1]:8080`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split(address: str) -> tuple[str, int]:
    """The host without brackets, and the port. Raises ValueError where there is no such pair."""
    host, colon, port = address.strip().rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    number = port.isascii() and port.isdecimal() and int(port) <= 65_535
    if not colon or not bare or not number or "/" in host:
        raise ValueError(f'"{address}" is not host:port')
    if ":" in bare and bare == host:
        raise ValueError(f"{address}: an IPv6 address stands in brackets, [::1]:9092")
    return bare, int(port)


def family(host: str) -> socket.AddressFamily:
    """Of the socket that listens on this host."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def is_local(host: str) -> bool:
    """Whether only this machine reaches what listens on this host; of a name nobody knows."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
