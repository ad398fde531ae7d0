"""Host and port, IPv6 in brackets."""

from __future__ import annotations

import socket

import pytest

from modelmora.addresses import family, join, split


@pytest.mark.parametrize(
    ("host", "port", "address"),
    [("127.0.0.1", 80, "127.0.0.1:80"), ("::1", 9092, "[::1]:9092"), ("a.b", 1, "a.b:1")],
)
def test_there_and_back(host: str, port: int, address: str) -> None:
    assert join(host, port) == address
    assert split(f" {address} ") == (host, port)


@pytest.mark.parametrize("address", ["", "a", ":1", "a:", "a:b", "a:70000", "::1:9092", "a:²"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ValueError, match=r"host:port|brackets"):
        split(address)


def test_the_family_of_a_host() -> None:
    assert family("::1") is socket.AF_INET6
    assert family("localhost") is socket.AF_INET
