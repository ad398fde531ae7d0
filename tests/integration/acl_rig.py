"""A namespace on a broker that denies what was not granted, and who comes there."""

from __future__ import annotations

import io
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import Producer

from modelmora.cli import main
from modelmora.kafka.acls import Component, Grant, grants
from modelmora.settings import Settings
from tests.guarded import Guarded
from tests.nodes import PARTITIONS, GatewayProcess, NodeProcess

TOPICS = {"topics": {"partitions": PARTITIONS}}
NONE: Mapping[str, bytes] = {}


class Estate:
    """A namespace on it, where each component comes as a user of its own with the least rights."""

    def __init__(
        self,
        guarded: Guarded,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        self.guarded = guarded
        self.namespace = f"t{uuid.uuid4().hex[:12]}"
        self._folder = folder
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        monkeypatch.chdir(folder)

    def user(self, component: Component) -> str:
        return f"{self.namespace}-{component}"

    def settings(self, component: Component, **more: Any) -> Settings:
        return self.guarded.settings(self.user(component), self.namespace, **TOPICS, **more)

    def allow(self, component: Component, **more: Any) -> tuple[Grant, ...]:
        """Let a component in with the least that it needs."""
        granted = grants(component, self.settings(component, **more))
        self.guarded.know(self.user(component))
        self.guarded.grant(self.user(component), granted)
        return granted

    def node(self, **settings: object) -> NodeProcess:
        own = self.guarded.environment(self.user(Component.NODE)) | settings
        return NodeProcess(self.guarded.sasl, self.namespace, self._folder, settings=own)

    def gateway(self, **settings: object) -> GatewayProcess:
        own = self.guarded.environment(self.user(Component.GATEWAY)) | settings
        return GatewayProcess(self.guarded.sasl, self.namespace, self._folder, settings=own)

    def run(self, component: Component, *words: str, given: str = "") -> tuple[int, str, str]:
        """A verb as the user of a component: exit code, what it printed, what it said."""
        with self._monkeypatch.context() as patch:
            for name, value in self.guarded.environment(self.user(component)).items():
                patch.setenv(f"MODELMORA_{name}", str(value))
            patch.setenv("MODELMORA_NAMESPACE", self.namespace)
            patch.setenv("MODELMORA_TOPICS__PARTITIONS", str(PARTITIONS))
            patch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(given.encode())))
            self._capsys.readouterr()
            code = main([*words])
            return code, *self._capsys.readouterr()

    def done(self, component: Component, *words: str, given: str = "") -> str:
        """A verb that must succeed; what it printed."""
        code, out, err = self.run(component, *words, given=given)
        assert code == 0, f"{' '.join(words)}: {err}"
        return out

    def write(
        self, topic: str, value: bytes, headers: Mapping[str, bytes] = NONE, key: str = "echo"
    ) -> None:
        """A record by one who may do all."""
        producer = Producer({"bootstrap.servers": self.guarded.inside, "log_level": 0})
        producer.produce(f"{self.namespace}.{topic}", value, key, headers=dict(headers))
        assert producer.flush(60) == 0

    def used(self, component: Component) -> set[Grant]:
        user = self.user(component)
        return {grant for who, grant in self.guarded.used if who == user}

    def denied(self) -> set[tuple[str, str, str]]:
        return {each for each in self.guarded.denied if each[0].startswith(self.namespace)}
