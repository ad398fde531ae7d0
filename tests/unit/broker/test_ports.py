"""Ports: free ones found, taken ones named, those of last time kept."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelmora.broker import config
from modelmora.broker.config import HOST, Ports, choose_ports, server_properties
from modelmora.broker.ports import EPHEMERAL_RANGE, any_ports, is_free, require_free
from modelmora.errors import ConfigurationError


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as server:
        server.bind((HOST, 0))
        server.listen()
        yield server.getsockname()[1]


def test_chosen_ports_are_free_and_not_for_outgoing_connections() -> None:
    ports = any_ports(HOST, 5)
    assert len(set(ports)) == 5
    assert all(is_free(HOST, port) for port in ports)
    assert max(ports) < int(EPHEMERAL_RANGE.read_text().split()[0])


def test_taken(taken: int) -> None:
    assert not is_free(HOST, taken)
    with pytest.raises(ConfigurationError, match=f"port {taken} .* for REST is taken") as caught:
        require_free(HOST, taken, "REST")
    assert caught.value.exit_code == 2


def test_an_address_that_is_not_ours() -> None:
    with pytest.raises(ConfigurationError, match=r"192\.0\.2\.1 .* cannot be used"):
        require_free("192.0.2.1", 0, "REST")


def test_kept_ports_come_first(tmp_path: Path) -> None:
    kept = Ports(*any_ports(HOST, 2))
    kept.write(tmp_path / "ports.json")
    assert Ports.read(tmp_path / "ports.json") == kept
    assert choose_ports(0, kept) == kept


def test_kafkas_own_port_is_taken_where_nobody_has_it(
    monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    (free,) = any_ports(HOST, 1)
    monkeypatch.setattr(config, "KAFKA_PORT", free)
    assert choose_ports(None, None).client == free
    kept = Ports(*any_ports(HOST, 2))
    assert choose_ports(None, kept) == kept
    monkeypatch.setattr(config, "KAFKA_PORT", taken)
    assert choose_ports(None, None).client not in (taken, free)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"client": "x", "controller": 1}'])
def test_unreadable_kept_ports_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "ports.json").write_text(text)
    assert Ports.read(tmp_path / "ports.json") is None


def test_a_kept_port_taken_meanwhile_is_replaced(taken: int) -> None:
    (free,) = any_ports(HOST, 1)
    chosen = choose_ports(0, Ports(taken, free))
    assert chosen.client not in (taken, free)
    assert chosen.controller == free


def test_a_port_asked_for_is_that_or_an_error(taken: int) -> None:
    (free,) = any_ports(HOST, 1)
    assert choose_ports(free, None).client == free
    assert choose_ports(free, Ports(1, free)).controller != free
    with pytest.raises(ConfigurationError, match="taken"):
        choose_ports(taken, None)


def test_listens_on_loopback_only() -> None:
    text = server_properties(Ports(1234, 5678))
    listeners = dict(line.split("=", 1) for line in text.splitlines())["listeners"]
    assert listeners == "PLAINTEXT://127.0.0.1:1234,CONTROLLER://127.0.0.1:5678"
