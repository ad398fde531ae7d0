"""The proxy does to connections what its verbs say."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from tests.faults.proxy import FETCH, Proxied, Proxy
from tests.programs import eventually

QUIET_S = 0.3


class Echo(socketserver.BaseRequestHandler):
    """Gives back what it gets."""

    def handle(self) -> None:
        try:
            while piece := self.request.recv(1 << 16):
                self.request.sendall(piece)
        except ConnectionError:
            pass


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """Before something that echoes."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        with Proxy(server.server_address[1]) as made:
            yield made
        server.shutdown()
        thread.join()


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    """One that is connected."""
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as made:
        yield made


def frame(number: int, body: bytes = b"") -> bytes:
    """A request as Kafka frames it."""
    whole = number.to_bytes(2, "big") + body
    return len(whole).to_bytes(4, "big") + whole


def asked(client: socket.socket, whole: bytes) -> bytes:
    """What comes back of it."""
    client.sendall(whole)
    return heard(client, len(whole))


def heard(client: socket.socket, count: int) -> bytes:
    got = b""
    while len(got) < count:
        piece = client.recv(count - len(got))
        assert piece
        got += piece
    return got


def silent(client: socket.socket) -> bool:
    """Whether nothing comes for a moment."""
    client.settimeout(QUIET_S)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    finally:
        client.settimeout(10)
    return False


def test_it_passes_everything_on(client: socket.socket) -> None:
    assert asked(client, frame(3, b"x" * 300_000)) == frame(3, b"x" * 300_000)


def test_cut_resets_and_new_ones_are_served(proxy: Proxy, client: socket.socket) -> None:
    asked(client, frame(3))
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as other:
        assert asked(other, frame(3)) == frame(3)


def test_refuse_and_heal_at_the_same_port(proxy: Proxy, client: socket.socket) -> None:
    asked(client, frame(3))
    proxy.refuse()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port), 10)
    proxy.heal()
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as other:
        assert asked(other, frame(3)) == frame(3)


def test_a_black_hole_accepts_and_says_nothing_until_it_is_healed(
    proxy: Proxy, client: socket.socket
) -> None:
    proxy.black_hole()
    client.sendall(frame(3))
    assert silent(client)
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as other:
        other.sendall(frame(4))
        assert silent(other)
        proxy.heal()
        assert heard(client, 6) == frame(3)
        assert heard(other, 6) == frame(4)


def test_half_open_is_not_heard_and_reset_at_the_end(proxy: Proxy, client: socket.socket) -> None:
    proxy.half_open()
    client.sendall(frame(3))
    assert silent(client)
    proxy.heal()
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_only_what_is_named_is_dropped(proxy: Proxy, client: socket.socket) -> None:
    proxy.drop([FETCH])
    client.sendall(frame(FETCH, b"fetch"))
    assert asked(client, frame(3, b"other")) == frame(3, b"other")
    assert proxy.dropped == 1


@pytest.mark.parametrize("slow", ["delay", "limit"])
def test_it_holds_back(proxy: Proxy, client: socket.socket, slow: str) -> None:
    proxy.delay(0.2) if slow == "delay" else proxy.limit(1000.0)
    began = time.monotonic()
    asked(client, frame(3, b"x" * 200))
    assert time.monotonic() - began >= 0.4  # once there and once back


@pytest.mark.faults
def test_clients_of_a_broker_behind_it_know_no_other_way(tmp_path: Path) -> None:
    with Proxy() as proxy, Proxied(tmp_path, proxy):
        admin = AdminClient({"bootstrap.servers": proxy.address, "log_level": 0})
        (told,) = admin.list_topics(timeout=30).brokers.values()
        assert (told.host, told.port) == ("127.0.0.1", proxy.port)
        producer = Producer({"bootstrap.servers": proxy.address, "log_level": 0})
        proxy.refuse()
        eventually(lambda: _unreachable(producer), "nobody is reached")
        proxy.heal()
        eventually(lambda: not _unreachable(producer), "the broker is reached again")


def _unreachable(producer: Producer) -> bool:
    from confluent_kafka import KafkaException

    try:
        producer.list_topics(timeout=1)
    except KafkaException:
        return True
    return False
