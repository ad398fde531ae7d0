"""The real Kafka of the test session, and a namespace per test so that tests do not meet."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest
from confluent_kafka import KafkaException

from modelmora.broker import EmbeddedBroker
from modelmora.errors import ModelMoraError
from modelmora.kafka.standing import Standing
from modelmora.settings import Settings
from tests.programs import eventually


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    """One embedded broker for the whole session; use `broker.bootstrap_servers`.

    A test that kills, stops or freezes a broker uses `mortal`.
    """
    embedded = EmbeddedBroker(tmp_path_factory.mktemp("broker"))
    try:
        embedded.start()
    except ModelMoraError as error:
        pytest.fail(f"these tests need the embedded broker: {error}", pytrace=False)
    _keeps_groups(embedded.bootstrap_servers)
    yield embedded
    embedded.stop()


def _keeps_groups(servers: str) -> None:
    """Wait for the place of groups: a broker makes it when the first is asked for."""
    with closing(Standing(Settings(bootstrap_servers=servers))) as standing:

        def told() -> bool:
            with suppress(KafkaException):
                return standing.members("first") is not None
            return False

        eventually(told, "groups are told of")


@pytest.fixture(scope="session")
def killable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    """The broker behind `mortal`: formatted once, started again where a test has killed it."""
    embedded = EmbeddedBroker(tmp_path_factory.mktemp("mortal"))
    yield embedded
    embedded.stop()


@pytest.fixture
def mortal(killable: EmbeddedBroker) -> EmbeddedBroker:
    """A running broker that a test may kill, stop and freeze; it need not start it again."""
    if not killable.running:
        killable.start()
    return killable


@pytest.fixture
def namespace() -> str:
    """A namespace (topic prefix) that no other test uses."""
    return f"t{uuid.uuid4().hex[:12]}"
