"""Secrets that are replaced while callers ask: nothing is lost, and nobody is refused."""

from __future__ import annotations

import json
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka.admin import ScramMechanism

from modelmora.broker import EmbeddedBroker
from modelmora.errors import Code
from modelmora.kafka.acls import Component, grants
from tests.faults.callers import Callers
from tests.guarded import Guarded
from tests.nodes import GatewayProcess, NodeProcess, Program

pytestmark = pytest.mark.faults
APART_S = 0.05
Variables = dict[str, object]


class Cluster:
    """Two nodes and a gateway at one address, started anew one after the other."""

    def __init__(self, servers: str, namespace: str, folder: Path, own: Variables) -> None:
        self._names = (servers, namespace)
        self._folder = folder
        with socket.socket() as spare:
            spare.bind(("127.0.0.1", 0))
            self._port = int(spare.getsockname()[1])
        self._running: dict[str, Program] = {}
        for name in ("n1", "n2", "gateway"):
            (folder / name).mkdir()
        self.roll_out(own)

    @property
    def http(self) -> str:
        """The address of the gateway."""
        return f"http://127.0.0.1:{self._port}"

    def roll_out(self, own: Variables) -> None:
        """Start each with these variables, once the one before it is ready."""
        for name in ("n1", "n2", "gateway"):
            if name in self._running:
                assert self._running[name].stop() == 0, self._running[name].tail()
            self._running[name] = self._made(name, own).start().wait_ready()

    def _made(self, name: str, own: Variables) -> Program:
        folder = self._folder / name
        if name == "gateway":
            return GatewayProcess(*self._names, folder, own | {"HTTP_PORT": self._port})
        return NodeProcess(*self._names, folder, name, own)

    def end(self) -> None:
        """Kill what still runs."""
        for each in self._running.values():
            each.kill()


@contextmanager
def asking(http: str) -> Iterator[Callers]:
    """Callers who ask all the time; whose door is gone asks again. At the end all were answered."""
    over = threading.Event()
    with Callers(http, again=True) as callers:

        def ask() -> None:
            while not over.wait(APART_S):
                callers.ask("echo", {"inputs": [secrets.token_hex(4)]})

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield callers
        finally:
            over.set()
            thread.join()
        told = callers.told()
        assert len(told) > 100
        # The one gateway was stopped, too; with another beside it that would have been asked.
        assert [each for each in told if each.code not in ("", Code.STOPPING)] == []


def test_another_cluster_secret(broker: EmbeddedBroker, namespace: str, tmp_path: Path) -> None:
    """As docs/howto/signed.md has it: behind the old one, before it, alone."""
    old, new = "o" * 32, "n" * 32
    file = tmp_path / "secret"
    own: Variables = {
        "ACCESS__CLUSTER_SECRET_FILE": file,
        "ACCESS__GRANTS": json.dumps({"local": ["caller"]}),
    }
    file.write_text(old)
    cluster = Cluster(broker.bootstrap_servers, namespace, tmp_path, own)
    try:
        with asking(cluster.http):
            for step in (f"{old} {new}", f"{new} {old}", new):
                file.write_text(step)
                cluster.roll_out(own)
    finally:
        cluster.end()


def test_another_password_of_the_broker(guarded: Guarded, namespace: str, tmp_path: Path) -> None:
    """As docs/howto/cluster.md has it: the new one is of the other mechanism until all have it."""
    user = f"{namespace}-all"
    guarded.know(user)
    settings = guarded.settings(user, namespace)
    granted = {each for of in (Component.NODE, Component.GATEWAY) for each in grants(of, settings)}
    guarded.grant(user, granted)
    own = guarded.environment(user)
    cluster = Cluster(guarded.sasl, namespace, tmp_path, own)
    try:
        with asking(cluster.http):
            word = "another " + secrets.token_hex(4)
            guarded.know(user, mechanism=ScramMechanism.SCRAM_SHA_256, password=word)
            own |= {"KAFKA__SASL_PASSWORD": word, "KAFKA__SASL_MECHANISM": "SCRAM-SHA-256"}
            cluster.roll_out(own)
            guarded.forget(user, ScramMechanism.SCRAM_SHA_512)
    finally:
        cluster.end()
