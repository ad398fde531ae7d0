"""The real Kafka of the test session, and a namespace per test so that tests do not meet."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from modelmora.broker import EmbeddedBroker
from modelmora.errors import ModelMoraError


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    """One embedded broker for the whole session; use `broker.bootstrap_servers`.

    A test that kills, stops or freezes a broker uses `mortal`.
    """
    # Characters at which Java, Kafka or its properties would cut, expand or misread a path.
    folder = tmp_path_factory.mktemp("broker") / "a, b=c:d #%p 'ü\\大"
    embedded = EmbeddedBroker(folder)
    try:
        embedded.start()
    except ModelMoraError as error:
        pytest.fail(f"these tests need the embedded broker: {error}", pytrace=False)
    yield embedded
    embedded.stop()


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
